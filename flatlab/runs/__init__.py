"""From settings to a record: experiments, where they run, their records, and many from one file."""
