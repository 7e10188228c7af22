"""The files service on this machine.

Theory of operation. What needs the file system is done by plain functions of plain arguments, in
modules that know no event loop: whole.py, names.py, walk.py, remove.py, copy.py, pack.py,
extract.py, watching.py, ways.py. `LocalFiles.hands` says who calls them for a request: a thread of
this process (worker.py), or a process in the request's sandbox (../confined/). Either gives the
same results and errors, and descriptors of what was opened, so that what follows needs no path:
blocks of a file, a pipe, a watch. Paths become descriptors in paths.py. What belongs to one client,
its open handles and watches, is a `FileSession`.

Nothing is imported here: a confined process needs the plain functions and nothing else.
"""
