"""What a maintainer runs now and then, to make again a file that is kept beside its source."""
