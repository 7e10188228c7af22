# Sandbox and what there is to know of one: a part of _pty.pyx.

ACCESSES = {"deny": core.ACCESS_DENY, "read": core.ACCESS_READ, "write": core.ACCESS_WRITE}
PROTECTIONS = {
    core.protection_name(<core.protection>i).decode(): core.protection_remedy(<core.protection>i).decode()
    for i in range(<int>core.PROTECTIONS)
}
"""What a kernel may be unable to protect, by name, with what a person can do about it."""
NETWORKS = {"full": core.FILTER_FULL, "ports": core.FILTER_TCP, "none": core.FILTER_NONE}


def landlock_abi():
    """The version of Landlock's ABI that the kernel has, 0 when it has none; at most the highest known here."""
    return core.landlock_abi()


def sweep_placeholder(bytes path not None):
    """Remove what keeps a name missing (execnode-linux-sandbox --missing) if no sandbox holds it: a folder of its own kind.

    False when one is there and is held, or cannot be removed.
    """
    if b"\0" in path:
        raise ValueError("NUL in a path")
    return core.placeholder_sweep(path)


cdef uint16_t *ports(list numbers) except? NULL:
    cdef uint16_t *array = <uint16_t *>malloc((len(numbers) + 1) * sizeof(uint16_t))
    cdef Py_ssize_t i
    if array == NULL:
        raise MemoryError
    try:
        for i in range(len(numbers)):
            array[i] = numbers[i]
    except BaseException:
        free(array)
        raise
    return array


cdef class Sandbox:
    """What a child gives up before it runs, by Landlock and seccomp alone: built once, used for any number of spawns.

    `rules` is a list of (path, access): absolute, resolved paths as bytes, and "read", "write" or "deny"; what no rule
    contains is invisible.  `network` is "full", "none", or "ports": then TCP to `connect` and listening on `bind`.

    Raises ValueError when Landlock cannot say the rules, which then want namespaces (execnode-linux-sandbox): anything
    writable, or something hidden in what is visible.  `lacks` names the protections that this kernel cannot give;
    whoever uses the sandbox all the same has accepted their loss.
    """

    cdef core.confinement confinement
    cdef core.sock_filter program[512]  # FILTER_MAX
    cdef readonly tuple lacks

    def __cinit__(self, list rules not None, *, str network="none", list connect=[], list bind=[]):
        cdef core.plan plan
        cdef core.filter filter
        cdef Py_ssize_t i
        cdef int abi = core.landlock_abi()
        cdef uint32_t lacks
        self.confinement.ruleset = -1
        self.confinement.bounds = False
        plan.rules = <core.rule *>malloc((len(rules) + 1) * sizeof(core.rule))
        plan.rule_count, plan.missing_count = len(rules), 0
        plan.network = NETWORKS[network]
        plan.connect_ports = plan.bind_ports = NULL
        try:
            if plan.rules == NULL:
                raise MemoryError
            for i, (path, access) in enumerate(rules):
                if type(path) is not bytes or not path.startswith(b"/") or b"\0" in path:
                    raise ValueError("a rule's path must be absolute, as bytes without NUL")
                plan.rules[i].path = PyBytes_AS_STRING(path)
                plan.rules[i].access = ACCESSES[access]
            plan.connect_ports, plan.connect_count = ports(connect), len(connect)
            plan.bind_ports, plan.bind_count = ports(bind), len(bind)
            core.plan_sort(&plan)
            if not core.plan_is_flat(&plan):
                raise ValueError("Landlock cannot say these rules")
            lacks = core.landlock_lacks(&plan, abi, False)
            self.lacks = tuple(name for i, name in enumerate(PROTECTIONS) if lacks & 1 << i)
            if abi:
                self.confinement.ruleset = core.landlock_ruleset(&plan, abi, False)
                if self.confinement.ruleset < 0:
                    raise OSError(errno_value, os.strerror(errno_value))
        finally:
            free(plan.rules)
            free(plan.connect_ports)
            free(plan.bind_ports)
        filter.arch = core.filter_native()
        filter.network = NETWORKS[network]
        filter.listens = len(bind) > 0
        filter.private_ipc = filter.private_pids = filter.private_network = False
        filter.read_only = True
        self.confinement.program.len = core.filter_build(&filter, self.program)
        self.confinement.program.filter = self.program

    def __dealloc__(self):
        if self.confinement.ruleset >= 0:
            close_fd(self.confinement.ruleset)
