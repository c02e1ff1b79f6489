"""The recipe that made the embedded frozen models; only `dsa pretrain` runs it."""
