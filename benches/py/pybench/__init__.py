"""Measurements of shm_py beside pyshmem and beside what the machine can do."""
