/* Brings every operation to its one `done`: starts it, goes on with it, ends it early. */
#include "io/uring.h"

#include <errno.h>

enum {
    OPERATION_SEND_MAX = 1 << 30, /* bytes in one go; the rest follows */
    OPERATION_ARENA_SLACK = 512,
};

enum op_kind { OP_BROKEN = 0, OP_CONNECT, OP_SEND, OP_RECV, OP_ACCEPT, OP_POLL };

enum op_state {
    OP_IDLE = 0,
    OP_BACKLOG, /* no room in the ring yet */
    OP_FLYING,  /* the kernel has it, or will with the next entry */
    OP_READY,   /* over; done is called in the next turn */
};

enum op_flag {
    OP_CANCELLED = 1,    /* the owner asked for it */
    OP_UNASKED = 2,      /* ... but the kernel was not asked yet: it is in the backlog too */
    OP_COUNTED = 4,      /* descriptor_busy counted it */
    OP_WITHOUT_SLOT = 8, /* it never flew */
};

enum op_scratch { SCRATCH_SLOT, SCRATCH_ARGUMENT /* connect: the address; poll: the events */ };

static void list_append(struct op_list *list, struct io_op *op)
{
    op->next = NULL;
    op->prev = list->last;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
}

static void list_remove(struct op_list *list, struct io_op *op)
{
    if (op->prev)
        op->prev->next = op->next;
    else
        list->first = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        list->last = op->prev;
    op->next = op->prev = NULL;
}

/* ---- starting, asking to end, ending ---- */

static uint64_t tag_of(const struct io_op *op)
{
    return (uint64_t)op->generation << 32 | (op->scratch[SCRATCH_SLOT] + 1);
}

static void prepare_send(struct io_uring_sqe *sqe, struct io_send *send)
{
    struct msghdr *message = &send->message;
    /* MSG_WAITALL: the kernel goes on by itself after a short write as long as it can. */
    int flags = MSG_WAITALL | MSG_NOSIGNAL;
    if (message->msg_iovlen == 1) {
        size_t n = message->msg_iov->iov_len;
        io_uring_prep_send(sqe, send->op.fd, message->msg_iov->iov_base,
                           n < OPERATION_SEND_MAX ? n : OPERATION_SEND_MAX, flags);
    } else {
        io_uring_prep_sendmsg(sqe, send->op.fd, message, (unsigned)flags);
    }
}

static void prepare(struct io_uring_sqe *sqe, struct io_op *op)
{
    const struct io_address *to;
    switch ((enum op_kind)op->kind) {
    case OP_CONNECT:
        to = (const struct io_address *)(uintptr_t)op->scratch[SCRATCH_ARGUMENT];
        io_uring_prep_connect(sqe, op->fd, (const struct sockaddr *)&to->storage, to->length);
        break;
    case OP_SEND:
        prepare_send(sqe, container_of(op, struct io_send, op));
        break;
    case OP_RECV:
        io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = RING_BUFFER_GROUP;
        break;
    case OP_ACCEPT:
        io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
        break;
    case OP_POLL:
        io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->scratch[SCRATCH_ARGUMENT]);
        break;
    case OP_BROKEN:
        sluice_assert(false);
    }
    io_uring_sqe_set_data64(sqe, tag_of(op));
}

/* Starts an operation, or goes on with one. */
static void launch(struct io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = ring_sqe(&io->ring);
    op->state = sqe ? OP_FLYING : OP_BACKLOG;
    if (sqe)
        prepare(sqe, op);
    else
        list_append(&io->operations.backlog, op);
}

/* Asks the kernel to end a flying operation. False: there is no room in the ring. */
static bool ask_to_end(struct io *io, struct io_op *op)
{
    struct io_uring_sqe *sqe = ring_sqe(&io->ring);
    if (!sqe)
        return false;
    io_uring_prep_cancel64(sqe, tag_of(op), 0);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data64(sqe, USER_NOBODY);
    return true;
}

static void make_ready(struct io *io, struct io_op *op, int result)
{
    op->state = OP_READY;
    op->result = result;
    list_append(&io->operations.ready, op);
    io->operations.ready_count++;
}

/* Takes a slot and a count on the descriptor. False: the operation is over already, as its result says. */
static bool begin(struct io *io, struct io_op *op, enum op_kind kind, int fd)
{
    sluice_assert(!io_op_busy(op));
    op->kind = (uint8_t)kind;
    op->fd = fd;
    op->flags = descriptor_busy(&io->descriptors, fd) ? OP_COUNTED : 0;
    if (!io->operations.free_count) {
        op->flags |= OP_WITHOUT_SLOT;
        make_ready(io, op, -ENOBUFS);
        return false;
    }
    uint32_t index = io->operations.free_slots[--io->operations.free_count];
    struct slot *slot = &io->operations.slots[index];
    slot->op = op;
    slot->kind = (uint16_t)kind;
    op->generation = slot->generation;
    op->scratch[SCRATCH_SLOT] = index;
    return true;
}

/* The one place where `done` is called. */
static void finish(struct io *io, struct io_op *op, int result)
{
    if (op->flags & OP_UNASKED)
        list_remove(&io->operations.backlog, op);
    if (op->flags & OP_COUNTED)
        descriptor_idle(&io->descriptors, op->fd);
    if (!(op->flags & OP_WITHOUT_SLOT)) {
        uint32_t index = (uint32_t)op->scratch[SCRATCH_SLOT];
        io->operations.slots[index].op = NULL;
        io->operations.slots[index].generation++;
        io->operations.free_slots[io->operations.free_count++] = index;
    }
    op->state = OP_IDLE;
    op->result = result;
    io->callbacks++;
    op->done(op, result);
}

void io_connect(struct io *io, struct io_op *op, int fd, const struct io_address *to)
{
    op->scratch[SCRATCH_ARGUMENT] = (uintptr_t)to;
    if (begin(io, op, OP_CONNECT, fd))
        launch(io, op);
}

void io_send(struct io *io, struct io_send *send, int fd, const struct slice *parts, unsigned count)
{
    unsigned used = 0;
    sluice_assert(count <= IO_SEND_PARTS && !io_op_busy(&send->op));
    send->total = send->sent = 0;
    for (unsigned i = 0; i < count; i++)
        if (parts[i].n) {
            send->parts[used++] = (struct iovec){(void *)(uintptr_t)parts[i].p, parts[i].n};
            send->total += parts[i].n;
        }
    sluice_assert(send->total <= INT32_MAX);
    send->message = (struct msghdr){.msg_iov = send->parts, .msg_iovlen = used};
    if (!begin(io, &send->op, OP_SEND, fd))
        return;
    if (used)
        launch(io, &send->op);
    else
        make_ready(io, &send->op, 0);
}

void io_recv(struct io *io, struct io_recv *recv, int fd)
{
    if (begin(io, &recv->op, OP_RECV, fd))
        launch(io, &recv->op);
}

void io_accept(struct io *io, struct io_accept *accept, int fd)
{
    if (begin(io, &accept->op, OP_ACCEPT, fd))
        launch(io, &accept->op);
}

void io_poll(struct io *io, struct io_op *op, int fd, unsigned events)
{
    op->scratch[SCRATCH_ARGUMENT] = events;
    if (begin(io, op, OP_POLL, fd))
        launch(io, op);
}

void io_cancel(struct io *io, struct io_op *op)
{
    if (op->state == OP_IDLE || op->state == OP_READY || op->flags & OP_CANCELLED)
        return;
    op->flags |= OP_CANCELLED;
    if (op->state == OP_BACKLOG) {
        list_remove(&io->operations.backlog, op);
        make_ready(io, op, -ECANCELED);
    } else if (!ask_to_end(io, op)) {
        op->flags |= OP_UNASKED;
        list_append(&io->operations.backlog, op);
    }
}

/* ---- what the kernel says ---- */

/* The kernel gave up for now, not the peer: ask again. ENOBUFS: no receive buffer was free at that moment. */
static bool is_passing(int result) { return result == -ENOBUFS || result == -EINTR || result == -EAGAIN; }

static void go_on(struct io *io, struct io_op *op)
{
    if (op->flags & OP_CANCELLED)
        finish(io, op, -ECANCELED);
    else
        launch(io, op);
}

static void completed_send(struct io *io, struct io_send *send, int result)
{
    if (result < 0) {
        if (is_passing(result))
            go_on(io, &send->op);
        else
            finish(io, &send->op, result);
        return;
    }
    size_t n = (size_t)result;
    send->sent += n;
    if (send->sent == send->total) {
        finish(io, &send->op, (int)send->total);
        return;
    }
    struct msghdr *message = &send->message;
    while (n >= message->msg_iov->iov_len) {
        n -= message->msg_iov->iov_len;
        message->msg_iov++;
        message->msg_iovlen--;
    }
    message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + n;
    message->msg_iov->iov_len -= n;
    go_on(io, &send->op);
}

static void completed_recv(struct io *io, struct io_recv *recv, int result, unsigned flags)
{
    if (flags & IORING_CQE_F_BUFFER) {
        unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
        if (result > 0 && !(recv->op.flags & OP_CANCELLED)) {
            io->callbacks++;
            recv->bytes(recv, (struct slice){ring_buffer(&io->ring, id), (size_t)result});
        }
        ring_recycle(&io->ring, id);
    }
    if (flags & IORING_CQE_F_MORE)
        return;
    if (result > 0 || is_passing(result))
        go_on(io, &recv->op);
    else
        finish(io, &recv->op, result);
}

static void completed_accept(struct io *io, struct io_accept *accept, int result, unsigned flags)
{
    if (result >= 0) {
        int fd = descriptor_add(&io->descriptors, result);
        if (fd >= 0 && accept->op.flags & OP_CANCELLED) {
            descriptor_close(&io->descriptors, fd);
        } else if (fd >= 0) {
            io->callbacks++;
            accept->accepted(accept, fd);
        }
    }
    if (flags & IORING_CQE_F_MORE)
        return;
    /* ECONNABORTED: the peer went away before it was accepted (accept(2)). */
    if (result >= 0 || is_passing(result) || result == -ECONNABORTED)
        go_on(io, &accept->op);
    else
        finish(io, &accept->op, result);
}

static struct slot *slot_of(struct io *io, uint64_t user_data)
{
    uint64_t low = user_data & USER_LOW;
    if (low == USER_NOBODY || low & USER_WAKE)
        return NULL;
    struct slot *slot = &io->operations.slots[low - 1];
    return slot->op && slot->generation == user_data >> 32 ? slot : NULL;
}

bool operation_completed(struct io *io, const struct completion *c)
{
    struct slot *slot = slot_of(io, c->user_data);
    if (!slot)
        return false;
    struct io_op *op = slot->op;
    if (op->kind == OP_SEND)
        completed_send(io, container_of(op, struct io_send, op), c->result);
    else if (op->kind == OP_RECV)
        completed_recv(io, container_of(op, struct io_recv, op), c->result, c->flags);
    else if (op->kind == OP_ACCEPT)
        completed_accept(io, container_of(op, struct io_accept, op), c->result, c->flags);
    else
        finish(io, op, c->result);
    return true;
}

void operation_finish_ready(struct io *io)
{
    struct io_op *op = io->operations.ready.first;
    list_remove(&io->operations.ready, op);
    io->operations.ready_count--;
    finish(io, op, op->result);
}

int operation_orphan(struct io *io, const struct completion *c)
{
    const struct slot *slot = slot_of(io, c->user_data);
    return slot && slot->kind == OP_ACCEPT ? c->result : -1;
}

void operation_launch_backlog(struct io *io)
{
    struct io_op *op;
    while ((op = io->operations.backlog.first) != NULL && io_uring_sq_space_left(&io->ring.uring) > 0) {
        list_remove(&io->operations.backlog, op);
        if (op->state == OP_BACKLOG) {
            launch(io, op);
        } else {
            bool asked = ask_to_end(io, op);
            sluice_assert(asked);
            op->flags &= (uint16_t)~OP_UNASKED;
        }
    }
}

size_t operation_bytes(uint32_t count)
{
    return (sizeof(struct slot) + sizeof(uint32_t)) * (size_t)count + OPERATION_ARENA_SLACK;
}

bool operation_open(struct operations *operations, struct arena *arena, uint32_t count)
{
    *operations = (struct operations){0};
    operations->slots = arena_take(arena, sizeof *operations->slots * count, 64);
    operations->free_slots = arena_take(arena, sizeof *operations->free_slots * count, 64);
    if (!operations->slots || !operations->free_slots)
        return false;
    for (uint32_t i = 0; i < count; i++)
        operations->free_slots[i] = count - 1 - i; /* the first are taken first */
    operations->free_count = count;
    return true;
}
