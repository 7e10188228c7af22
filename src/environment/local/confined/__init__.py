"""Plain functions of this package's siblings, done by processes in sandboxes.

    node
      zygote      a Python process with one thread, which has imported what the functions need
        launcher  (_seccomp/launch.h)
          worker  a fork of the zygote in a sandbox: calls functions in threads

Theory of operation. A worker is forked into its sandbox rather than executed there, so that nothing
of Python has to be visible inside; and it is forked from the zygote rather than from the node,
which has threads and secrets. The node asks the zygote for a worker of a plan (zygote.py), and then
talks to that over a socket of their own (link.py): calls one way, results and errors the other,
with descriptors among both. A worker serves all requests of equal plans, until it was idle for a
while (pool.py).

The node trusts no worker: what comes from it is decoded as the type that the function promises.
All ends with the node: a worker when its socket is closed, a zygote when that to the node is, and
each is killed when its parent dies.
"""
