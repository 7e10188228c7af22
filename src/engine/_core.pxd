# The C core as Cython sees it; each header says what its functions do.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.types cimport pid_t

cdef extern from "sys/resource.h" nogil:
    ctypedef unsigned long rlim_t
    const rlim_t RLIM_INFINITY
    struct rlimit:
        rlim_t rlim_cur
        rlim_t rlim_max

cdef extern from "engine/core/log.h" nogil:
    enum: LOG_STREAMS
    enum log_policy:
        LOG_BLOCK
        LOG_DROP_OLDEST
    enum log_mark:
        LOG_OUTPUT
        LOG_EXITED
        LOG_CLOSED
    struct log_record:
        uint64_t pos
        uint64_t offset
        uint32_t length
        uint8_t stream
        uint8_t mark
    struct log_budget:
        size_t memory_used
        uint64_t spill_used
    struct log_cursor:
        uint64_t next_seq
        uint64_t protected_seq
        uint64_t offset[3]
    ctypedef void (*log_digest_fn)(void *arg, int stream, const void *data, size_t length) noexcept
    struct log:
        uint64_t retention
        int spill_errno
        uint64_t base_seq
        uint64_t exited_seq
        uint64_t total[3]
        uint64_t base_offset[3]
        uint32_t crc[3]
        log_digest_fn digest
        void *digest_arg
    uint64_t log_next_seq(const log *log)
    const log_record *log_find(const log *log, uint64_t seq)
    int log_copy(const log *log, uint64_t pos, size_t length, void *to)
    void log_handed(log *log, uint64_t seq)
    void log_offsets_at(const log *log, uint64_t seq, uint64_t *offset)

cdef extern from "engine/core/encoding.h" nogil:
    struct span:
        const uint8_t *data
        size_t length
    struct encoding:
        bint base64
    const encoding cbor_encoding
    const encoding json_encoding
    struct voice:
        const encoding *encoding
        bint plain

cdef extern from "engine/core/notice.h" nogil:
    struct ending:
        int code
        const char *reason
        const char *signal

cdef extern from "engine/core/framing.h" nogil:
    enum framing_kind:
        FRAMING_FRAMES
        FRAMING_LINES
        FRAMING_WEBSOCKET
        FRAMINGS
    struct framing:
        bint raw
    const framing framings[3]

cdef extern from "engine/core/blob.h" nogil:
    struct blob:
        uint8_t *data
        size_t length
    int blob_init(blob *blob, size_t length)
    void blob_free(blob *blob)
    void blob_truncate(blob *blob, size_t length)

cdef extern from "engine/_seccomp/filter.h" nogil:
    const size_t FILTER_MAX
    enum filter_network:
        FILTER_FULL
        FILTER_TCP
        FILTER_NONE
    struct sock_filter:
        pass
    struct filter:
        int arch
        filter_network network
        bint listens
        bint private_ipc
        bint private_pids
        bint private_network
        bint read_only
    size_t filter_build(const filter *filter, sock_filter *program)
    int filter_native()

cdef extern from "engine/_seccomp/confine.h" nogil:
    struct sock_fprog:
        unsigned short len
        sock_filter *filter
    struct confinement:
        int ruleset
        sock_fprog program
        bint bounds

cdef extern from "engine/_seccomp/plan.h" nogil:
    enum access:
        ACCESS_DENY
        ACCESS_READ
        ACCESS_WRITE
    enum protection:
        PROTECTIONS
    struct rule:
        const char *path
        access access
    struct plan:
        rule *rules
        size_t rule_count
        size_t missing_count
        filter_network network
        uint16_t *connect_ports
        uint16_t *bind_ports
        size_t connect_count
        size_t bind_count
    void plan_sort(plan *plan)
    bint plan_is_flat(const plan *plan)
    const char *protection_name(protection protection)
    const char *protection_remedy(protection protection)

cdef extern from "engine/_seccomp/landlock.h" nogil:
    int landlock_abi()
    uint32_t landlock_lacks(const plan *plan, int abi, bint namespaced)
    int landlock_ruleset(const plan *plan, int abi, bint namespaced)

cdef extern from "engine/_seccomp/missing.h" nogil:
    bint placeholder_sweep(const char *path)

cdef extern from "engine/core/spawn.h" nogil:
    enum spawn_stage:
        SPAWN_OK
    struct spawn_rlimit:
        int resource
        rlimit limit
    enum:
        SPAWN_INHERIT_MAX
    struct spawn_plan:
        const char *const *paths
        char *const *argv
        char *const *envp
        const char *cwd
        const spawn_rlimit *rlimits
        size_t rlimit_count
        bint tty
        unsigned short rows
        unsigned short cols
        bint stdin_pipe
        int cgroup_fd
        const int *inherit
        size_t inherit_count
        bint outlive
        const confinement *confinement
    const char *spawn_stage_name(spawn_stage stage)

cdef extern from "engine/core/pty.h" nogil:
    int pty_resize(int master, unsigned short rows, unsigned short cols)

cdef extern from "engine/core/reactor.h" nogil:
    struct source:
        int fd
    enum event_kind:
        EVENT_FRAME
        EVENT_QUEUED
        EVENT_OVERSIZE
        EVENT_EOF
        EVENT_BROKEN
        EVENT_DRAINED
        EVENT_MARK
        EVENT_GAP
        EVENT_EXITED
        EVENT_ENDED
        EVENT_NEWS
        EVENT_WRITTEN
    struct event:
        event_kind kind
        process *process
        channel *channel
        const uint8_t *data
        size_t length
        uint64_t number
        uint64_t last
        int error
        uint64_t bytes[3]
    struct engine:
        int epoll_fd
        log_budget budget
        event *events
        size_t event_count
        bint out_of_memory
        channel *dirty
        size_t processes
        size_t channels
    int engine_init(engine *engine, size_t memory_limit, const char *spill_dir, uint64_t spill_limit)
    void engine_destroy(engine *engine)
    bint engine_poll(engine *engine)
    void engine_wake(engine *engine)

cdef extern from "engine/core/channel.h" nogil:
    struct cursor:
        log_cursor at
        span name
    struct channel:
        void *handle
        const framing *framing
        bint hot
        bint acks
        uint32_t max_frame
        size_t queued
        cursor *cursors
    int channel_open(engine *engine, int in_fd, int out_fd, framing_kind framing, uint32_t max_frame,
                     channel **channel)
    void channel_free(channel *channel)
    void channel_speak(channel *channel, voice voice)
    int channel_send(channel *channel, const uint8_t *body, size_t length)
    int channel_send_raw(channel *channel, const uint8_t *data, size_t length)
    int channel_send_blob(channel *channel, span head, blob *blob, span tail)
    cursor *channel_attach(channel *channel, process *process, span name, uint64_t after_seq, bint protect)
    cursor *channel_cursor(channel *channel, const process *process)
    void cursor_free(cursor *cursor)
    int cursor_pass(cursor *cursor, uint64_t seq, const uint8_t *body, size_t length)
    void cursor_skip(cursor *cursor)
    void cursor_acked(cursor *cursor, uint64_t seq)
    uint64_t cursor_unconfirmed(const cursor *cursor)
    void channel_notify_drained(channel *channel)

cdef extern from "engine/core/process.h" nogil:
    const size_t WRITE_ID_MAX
    struct retention:
        log_policy policy
        uint64_t bytes
        size_t memory
    struct process:
        void *handle
        pid_t pid
        bint tty
        source output[2]
        source input
        log log
        bint exited
        bint ended
        bint watched
        size_t queued
        bint caller_tells
        const char *ended_by
        int exit_kind
        int exit_status
    enum write_result:
        WRITE_DONE
        WRITE_REPEATED
        WRITE_QUEUED
        WRITE_CLOSED
        WRITE_FULL
        WRITE_FAILED
    int process_start(engine *engine, const spawn_plan *plan, retention retention, process **process,
                      spawn_stage *stage)
    void process_free(process *process)
    write_result process_write(process *process, span data, span id, uint64_t *ticket, int *error)
    bint process_close_input(process *process)
    int process_signal(process *process, int number)
    ending process_ending(const process *process)
    void process_hold(process *process, uint64_t from_seq)
    void process_release(process *process)
