"""Tests of the share service."""
