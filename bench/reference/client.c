/* client unix PATH | client web ws://ADDRESS:PORT | client stdio PROGRAM [ARG...]
 *
 * The load generator: the same workloads against a node (CBOR over its Unix socket), against a server that speaks JSON
 * over WebSocket, and against a program that speaks JSON lines over its standard input and output. It connects once,
 * prints {"pid": PID of the program, or 0}, and then reads one workload a line and answers each with a report:
 *
 *   run COUNT INFLIGHT PROGRAM [ARG...]   start to `closed`, COUNT times, INFLIGHT at once
 *   echo COUNT PROGRAM [ARG...]           one byte to a program on a terminal, and back, COUNT times
 *   status COUNT                          environment/status, COUNT times
 *   read COUNT PATH                       fs/readFile of a whole file, COUNT times
 *   confined COUNT read|write FOLDER      fs/readFile or fs/writeFile of FOLDER/file, COUNT times, where a profile lets
 *                                         FOLDER be written but FOLDER/hidden not be read, and all else be read
 *   hold COUNT PROGRAM [ARG...]           start COUNT programs and leave them running
 *   drop                                  terminate what `hold` started, wait until all are closed
 *
 * As a library client would, it asks for acknowledged output over CBOR and acknowledges every 128 KiB; over JSON it is
 * the plain dialect that every server of it is sent. */
#include <unistd.h>

#include "channel.h"
#include "measure.h"
#include "message.h"

enum { ACK_BYTES = 128 * 1024, MAX_WORDS = 64 };

static struct {
    const struct codec *codec;
    bool acks;
    int64_t next_id; /* requests and processes are numbered together, so a start has its process's number */
    int64_t held_from, held_to;
} peer;

static struct request request;

bool same(const char *name, size_t length, const char *wanted) {
    return length == strlen(wanted) && !memcmp(name, wanted, length);
}

enum kind kind_of_method(const char *name, size_t length) {
    if (same(name, length, "process/output")) return OUTPUT;
    if (same(name, length, "process/exited")) return EXITED;
    if (same(name, length, "process/closed")) return CLOSED;
    return OTHER;
}

int64_t process_number(const char *id, size_t length) {
    int64_t value = 0;
    for (size_t i = 1; i < length; i++)
        value = value * 10 + (id[i] - '0');
    return value;
}

/* ---- sending ---- */

/* Begins a message with `members` parameters; id -1 makes it a notification. */
static void begin(int64_t id, const char *method, size_t members) {
    const struct codec *c = peer.codec;
    channel_begin(&request);
    c->map(&request, id < 0 ? 2 : 3);
    if (id >= 0) {
        c->key(&request, "id");
        c->integer(&request, id);
    }
    c->key(&request, "method");
    c->text(&request, method);
    c->key(&request, "params");
    c->map(&request, members);
}

static void finish(void) {
    peer.codec->end_map(&request);
    peer.codec->end_map(&request);
    channel_send(&request);
}

static void member_text(const char *name, const char *value) {
    peer.codec->key(&request, name);
    peer.codec->text(&request, value);
}

static void member_boolean(const char *name, bool value) {
    peer.codec->key(&request, name);
    peer.codec->boolean(&request, value);
}

static void member_process(int64_t process) {
    char name[24];
    snprintf(name, sizeof name, "p%lld", (long long)process);
    member_text("processId", name);
}

static int64_t start(char **argv, bool tty) {
    const struct codec *c = peer.codec;
    int64_t id = peer.next_id++;
    size_t count = 0;
    while (argv[count])
        count++;
    begin(id, "process/start", 5);
    member_process(id);
    c->key(&request, "argv");
    c->list(&request, count);
    for (size_t i = 0; i < count; i++)
        c->text(&request, argv[i]);
    c->end_list(&request);
    member_text("cwd", "file:///");
    c->key(&request, "env");
    c->map(&request, 1);
    member_text("PATH", "/usr/bin:/bin");
    c->end_map(&request);
    member_boolean("tty", tty);
    finish();
    return id;
}

static int64_t write_byte(int64_t process, char byte) {
    char write_id[24];
    int64_t id = peer.next_id++;
    snprintf(write_id, sizeof write_id, "%lld", (long long)id);
    begin(id, "process/write", 3);
    member_process(process);
    peer.codec->key(&request, "chunk");
    peer.codec->byte(&request, byte);
    member_text("writeId", write_id);
    finish();
    return id;
}

static int64_t terminate(int64_t process) {
    int64_t id = peer.next_id++;
    begin(id, "process/terminate", 1);
    member_process(process);
    finish();
    return id;
}

static void acknowledge(int64_t process, int64_t seq) {
    begin(-1, "process/ack", 2);
    member_process(process);
    peer.codec->key(&request, "seq");
    peer.codec->integer(&request, seq);
    finish();
}

/* ---- receiving ---- */

/* The next message; an error answer ends the program. */
static struct message next(void) {
    struct span text = channel_next();
    struct message message = peer.codec->parse(text);
    if (message.failed) {
        fprintf(stderr, "reference: error answer: %.*s\n", (int)text.length, text.data);
        exit(1);
    }
    return message;
}

static struct message wait_answer(int64_t id) {
    struct message message;
    do
        message = next();
    while (message.kind != ANSWER || message.id != id);
    return message;
}

/* ---- workloads ---- */

struct command {
    uint64_t begun, unacknowledged;
    bool answered, closed;
};

static void run(long count, long inflight, char **argv) {
    struct command *commands = allocate((size_t)count, sizeof *commands);
    uint64_t *each = allocate((size_t)count, sizeof *each);
    int64_t first = peer.next_id;
    long started = 0, done = 0;
    uint64_t bytes = 0, begun = now_ns();
    while (done < count) {
        for (; started < count && started - done < inflight; started++) {
            commands[started].begun = now_ns();
            start(argv, false);
        }
        struct message message = next();
        int64_t index = (message.kind == ANSWER ? message.id : message.process) - first;
        if (message.kind == OTHER || index < 0 || index >= count) continue;
        struct command *command = &commands[index];
        if (message.kind == OUTPUT) {
            bytes += message.bytes;
            command->unacknowledged += message.bytes;
            if (peer.acks && command->unacknowledged >= ACK_BYTES) {
                acknowledge(message.process, message.seq);
                command->unacknowledged = 0;
            }
            continue;
        }
        if (message.kind == EXITED && message.exit_code) die("the command failed");
        command->answered |= message.kind == ANSWER;
        command->closed |= message.kind == CLOSED;
        if (message.kind != EXITED && command->answered && command->closed) {
            each[index] = now_ns() - command->begun;
            done++;
        }
    }
    report(now_ns() - begun, bytes, each, count);
    free(commands);
    free(each);
}

/* Waits for one byte of output and, when `id` is not -1, the answer to that request; returns when the byte came. */
static uint64_t wait_byte(int64_t process, int64_t id) {
    uint64_t came = 0, bytes = 0;
    for (bool answered = id < 0; !bytes || !answered;) {
        struct message message = next();
        if (message.kind == CLOSED) die("the echo program ended");
        answered |= message.kind == ANSWER && message.id == id;
        if (message.kind == OUTPUT && message.process == process) {
            bytes += message.bytes;
            came = now_ns();
        }
    }
    if (bytes != 1) die("not one byte came back");
    return came;
}

static void wait_closed(int64_t first, int64_t last) {
    for (int64_t left = last - first; left > 0;) {
        struct message message = next();
        left -= message.kind == CLOSED && message.process >= first && message.process < last;
    }
}

static void echo(long count, char **argv) {
    uint64_t *each = allocate((size_t)count, sizeof *each);
    int64_t process = start(argv, true);
    wait_byte(process, process); /* the program says that the terminal is raw */
    uint64_t begun = now_ns();
    for (long i = 0; i < count; i++) {
        uint64_t sent = now_ns();
        each[i] = wait_byte(process, write_byte(process, 'x')) - sent;
    }
    uint64_t total = now_ns() - begun;
    terminate(process);
    wait_closed(process, process + 1);
    report(total, (uint64_t)count, each, count);
    free(each);
}

static int64_t ask_status(const char *nothing) {
    (void)nothing;
    int64_t id = peer.next_id++;
    begin(id, "environment/status", 0);
    finish();
    return id;
}

static int64_t ask_file(const char *path) {
    char uri[4096];
    int64_t id = peer.next_id++;
    if (snprintf(uri, sizeof uri, "file://%s", path) >= (int)sizeof uri) die("path too long");
    begin(id, "fs/readFile", 1);
    member_text("path", uri);
    finish();
    return id;
}

static void rule(const char *kind, const char *name, const char *value, const char *access) {
    const struct codec *c = peer.codec;
    c->map(&request, 2);
    c->key(&request, "path");
    c->map(&request, 2);
    member_text("type", kind);
    c->key(&request, name);
    if (*value == 'f') {
        c->text(&request, value);
    } else {
        c->map(&request, 1);
        member_text("kind", value);
        c->end_map(&request);
    }
    c->end_map(&request);
    member_text("access", access);
    c->end_map(&request);
}

static void member_sandbox(const char *folder) {
    const struct codec *c = peer.codec;
    char hidden[4200];
    snprintf(hidden, sizeof hidden, "%s/hidden", folder);
    c->key(&request, "sandbox");
    c->map(&request, 2);
    member_text("windowsSandboxLevel", "disabled");
    c->key(&request, "permissions");
    c->map(&request, 3);
    member_text("type", "managed");
    member_text("network", "restricted");
    c->key(&request, "file_system");
    c->map(&request, 2);
    member_text("type", "restricted");
    c->key(&request, "entries");
    c->list(&request, 3);
    rule("special", "value", "root", "read");
    rule("path", "path", folder, "write");
    rule("path", "path", hidden, "deny");
    c->end_list(&request);
    for (int maps = 0; maps < 3; maps++)
        c->end_map(&request);
}

static int64_t ask_confined(const char *path, bool writes) {
    char folder[4096], file[4200];
    int64_t id = peer.next_id++;
    if (snprintf(folder, sizeof folder, "file://%s", path) >= (int)sizeof folder) die("path too long");
    snprintf(file, sizeof file, "%s/file", folder);
    begin(id, writes ? "fs/writeFile" : "fs/readFile", writes ? 3 : 2);
    member_text("path", file);
    if (writes) {
        peer.codec->key(&request, "dataBase64");
        peer.codec->byte(&request, 'x');
    }
    member_sandbox(folder);
    finish();
    return id;
}

static int64_t ask_confined_read(const char *folder) { return ask_confined(folder, false); }

static int64_t ask_confined_write(const char *folder) { return ask_confined(folder, true); }

static void requests(long count, int64_t (*ask)(const char *), const char *argument) {
    uint64_t *each = allocate((size_t)count, sizeof *each);
    uint64_t bytes = 0, begun = now_ns();
    for (long i = 0; i < count; i++) {
        uint64_t sent = now_ns();
        bytes += wait_answer(ask(argument)).bytes;
        each[i] = now_ns() - sent;
    }
    report(now_ns() - begun, bytes, each, count);
    free(each);
}

static void hold(long count, char **argv) {
    uint64_t begun = now_ns();
    peer.held_from = peer.next_id;
    for (long i = 0; i < count; i++)
        wait_answer(start(argv, false));
    peer.held_to = peer.next_id;
    report(now_ns() - begun, 0, NULL, 0);
}

static void drop(void) {
    uint64_t begun = now_ns();
    for (int64_t process = peer.held_from; process < peer.held_to; process++)
        terminate(process);
    wait_closed(peer.held_from, peer.held_to);
    peer.held_from = peer.held_to;
    report(now_ns() - begun, 0, NULL, 0);
}

/* ---- talking to one server ---- */

static void handshake(void) {
    int64_t id = peer.next_id++;
    begin(id, "initialize", peer.acks ? 2 : 1);
    member_text("clientName", "bench");
    if (peer.acks) member_boolean("acks", true);
    finish();
    begin(-1, "initialized", 0);
    finish();
    wait_answer(id);
}

static void obey(char **words, int count) {
    if (count >= 4 && !strcmp(words[0], "run"))
        run(number(words[1]), number(words[2]), words + 3);
    else if (count >= 3 && !strcmp(words[0], "echo"))
        echo(number(words[1]), words + 2);
    else if (count == 2 && !strcmp(words[0], "status"))
        requests(number(words[1]), ask_status, NULL);
    else if (count == 3 && !strcmp(words[0], "read"))
        requests(number(words[1]), ask_file, words[2]);
    else if (count == 4 && !strcmp(words[0], "confined"))
        requests(number(words[1]), strcmp(words[2], "read") ? ask_confined_write : ask_confined_read, words[3]);
    else if (count >= 3 && !strcmp(words[0], "hold"))
        hold(number(words[1]), words + 2);
    else if (count == 1 && !strcmp(words[0], "drop"))
        drop();
    else
        die("unknown workload");
}

/* Returns the process id of the program that was started, or 0. */
static pid_t open_channel(const char *how, char **where) {
    pid_t pid = 0;
    int in, out;
    const struct framing *framing = &lines;
    peer.acks = !strcmp(how, "unix");
    peer.codec = peer.acks ? &cbor_codec : &json_codec;
    if (peer.acks) {
        framing = &length_prefixes;
        in = out = connect_unix(*where);
    } else if (!strcmp(how, "web")) {
        framing = &web_frames;
        in = out = connect_web(*where);
    } else {
        pid = connect_program(where, &in, &out);
    }
    channel_open(framing, in, out);
    return pid;
}

int main(int argc, char **argv) {
    static char line[4096];
    if (argc < 3) die("usage: client unix PATH | client web ws://ADDRESS:PORT | client stdio PROGRAM [ARG...]");
    pid_t pid = open_channel(argv[1], argv + 2);
    handshake();
    printf("{\"pid\": %d}\n", (int)pid);
    fflush(stdout);
    /* A line comes only after the answer to the one before, so none is ever left in the buffer of stdin. */
    while (channel_rest(STDIN_FILENO), fgets(line, sizeof line, stdin)) {
        char *words[MAX_WORDS + 1], *rest = line;
        int count = 0;
        while (count < MAX_WORDS && (words[count] = strsep(&rest, " \n")) && *words[count])
            count++;
        words[count] = NULL;
        obey(words, count);
    }
    return 0;
}
