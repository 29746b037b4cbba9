"""Pictures that kill what decodes them.

No sound decoder dies on demand. So processes find a `sitecustomize` module, which Python imports at its
start, and which gives simplejpeg a weakness for pictures with certain comments.
"""

from pathlib import Path

from pytest import MonkeyPatch

from processing.compress import child_process
from tests.support.pictures import photo_jpeg

WEAKNESSES = """
import ctypes, os, signal, sys, time
import simplejpeg

def segfault(): ctypes.string_at(0)
def leave(): os._exit(1)
def leave_quietly(): os._exit(0)
def leave_after_the_answer(): exit = os._exit; os._exit = lambda _code: exit(1)
def loop():
    while True: pass
def wait(): time.sleep(3600)
def hog(): bytearray(5 << 30)
def stumble(): raise BufferError
def survive_termination(): os.kill(os.getpid(), signal.SIGTERM)
def find_secrets(): assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & set(os.environ)
def find_django(): assert "django" not in sys.modules
def dump_core():
    import resource
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
def find_files():
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")]
    assert not [name for name in names if name.endswith("lock")]
def volunteer(): assert open("/proc/self/oom_score_adj").read() == "1000\\n"

weaknesses = {name: value for name, value in globals().items() if callable(value)}
decode = simplejpeg.decode_jpeg

def decode_jpeg(data, *args, **options):
    for name, weakness in weaknesses.items():
        if f"<{name}>".encode() in data:
            weakness()
    return decode(data, *args, **options)

simplejpeg.decode_jpeg = decode_jpeg
"""


def make_weak_decoder(directory: Path) -> Path:
    """Fill a new `directory`; processes with it on their PYTHONPATH have the weaknesses."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(WEAKNESSES)
    return directory


def weaken_children(monkeypatch: MonkeyPatch, directory: Path) -> Path:
    """Give child processes of this one a weak decoder in a new `directory`, which is returned.

    This process has loaded its own long ago, and so have servers that wait for their next picture.
    """
    monkeypatch.syspath_prepend(make_weak_decoder(directory))
    monkeypatch.setattr(child_process, "_servers", child_process._ForkServers())
    return directory


def touching(weakness: str) -> bytes:
    """A sound picture, one whose pixels have to be decoded, on which a weak decoder does this."""
    return photo_jpeg(64, 48, subsampling="4:4:4", comment=f"<{weakness}>".encode())
