"""The book's own code: a package a paper, and the ledger of all claims."""
