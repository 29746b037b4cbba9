"""HEIC, which phones photograph in, read by ``pillow-heif`` where that is installed (the extra ``heic``)."""

try:
    import pillow_heif
except ImportError:
    IS_READ = False
else:
    pillow_heif.register_heif_opener()
    IS_READ = True
