"""What is common to all files that are kept, wherever they are."""

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

#: What Django's storages raise when they do not answer as they should.
ERRORS = (OSError, Boto3Error, BotoCoreError, ClientError)
