"""`python -m spanbert_tf`: the same as the console command `spanbert-tf`."""

import sys

from spanbert_tf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
