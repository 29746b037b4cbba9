"""Parts of `manage.py extract`: the source it reads, the progress it shows, the results it writes."""
