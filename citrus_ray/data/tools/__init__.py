"""Looking after sets of data: fetch an original, describe a set, write one."""
