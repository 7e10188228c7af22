"""The compiled core: processes, logs, channels."""
