/*
 * shared_table_map: making a shared_table: its size, its memory or file, its locks.
 * Must not trust a file beyond its checked head and slots. Runs in the master; tools may use it.
 */
#include "common/shared_table_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUE_SIZE_MAX 65536
#define MEMORY_MAX     (64ull << 30)
#define MAGIC	       0x6561736761746534ull /* changes with the layout in shared_table_parts.h */

static int locks_init(struct head *head)
{
	pthread_mutexattr_t attr;
	int rc = pthread_mutexattr_init(&attr);

	if (rc != 0)
		return rc;
	rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (rc == 0)
		rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (size_t i = 0; rc == 0 && i < SHARDS; i++) {
		/* What a former owner left there is no mutex of anybody's now. */
		memset(&head->shards[i].lock, 0, sizeof(head->shards[i].lock));
		rc = pthread_mutex_init(&head->shards[i].lock, &attr);
	}
	pthread_mutexattr_destroy(&attr);
	return rc;
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

static size_t firsts_offset(void)
{
	return round_up(sizeof(struct head), 8);
}

static size_t slots_offset(const struct shared_table *t)
{
	return round_up(firsts_offset() + t->slots_each * SHARDS * sizeof(slot_link), 4096);
}

/*
 * Somewhat more than asked for: shards do not fill evenly, and a full one evicts while others have
 * room. With this, hardly one value in a hundred is evicted before all that were asked for are in.
 */
static int measure(struct shared_table *t, const struct shared_table_config *config)
{
	size_t each;

	if (config->entries == 0 || config->value_size == 0 || config->value_size > VALUE_SIZE_MAX)
		return EINVAL;
	if (config->entries > MEMORY_MAX / sizeof(struct slot))
		return ENOMEM;
	t->value_size = config->value_size;
	t->slot_size = round_up(sizeof(struct slot) + config->value_size, 8);
	each = (config->entries + SHARDS - 1) / SHARDS;
	t->slots_each = each + each / 8 + 8;
	if (t->slots_each > MEMORY_MAX / (SHARDS * t->slot_size))
		return ENOMEM;
	t->bytes = round_up(slots_offset(t) + t->slots_each * SHARDS * t->slot_size, 4096);
	return 0;
}

static bool head_fits(const struct shared_table *t, const struct head *head, uint32_t layout)
{
	return head->magic == MAGIC && head->bytes == t->bytes &&
	    head->slots_each == t->slots_each && head->slot_size == t->slot_size &&
	    head->value_size == t->value_size && head->layout == layout;
}

/* The magic goes in last: a start that is cut short leaves a file that the next one empties. */
static int head_init(struct shared_table *t, uint32_t layout)
{
	struct head *head = t->head;

	if (getrandom(head->seed, sizeof(head->seed), 0) != (ssize_t)sizeof(head->seed))
		return EIO;
	head->bytes = t->bytes;
	head->slots_each = t->slots_each;
	head->slot_size = t->slot_size;
	head->value_size = t->value_size;
	head->layout = layout;
	for (size_t i = 0; i < SHARDS; i++)
		head->shards[i].buckets = 1;
	atomic_thread_fence(memory_order_release);
	head->magic = MAGIC;
	return 0;
}

static int map(struct shared_table *t, int fd)
{
	int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
	void *p = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		return errno;
	t->head = p;
	t->firsts = (slot_link *)(void *)((uint8_t *)p + firsts_offset());
	t->slots = (uint8_t *)p + slots_offset(t);
	/* Secrets stand in such tables: not in core files. */
	(void)madvise(p, t->bytes, MADV_DONTDUMP);
	return 0;
}

static int file_resize(const struct shared_table *t, int fd)
{
	if (ftruncate(fd, 0) != 0)
		return errno;
	/* Reserves the blocks: a full disk is an error now, not a SIGBUS later. */
	return posix_fallocate(fd, 0, (off_t)t->bytes);
}

/*
 * The only user of the file: makes the locks anew, and the rest too unless it is a table of ours.
 */
static int file_take(struct shared_table *t, int fd, off_t size, uint32_t layout)
{
	bool whole = size == (off_t)t->bytes;
	int rc = whole ? 0 : file_resize(t, fd);

	if (rc == 0)
		rc = map(t, fd);
	if (rc == 0 && whole && !head_fits(t, t->head, layout)) {
		munmap(t->head, t->bytes);
		t->head = NULL;
		rc = file_resize(t, fd);
		if (rc == 0)
			rc = map(t, fd);
		whole = false;
	}
	if (rc == 0)
		rc = locks_init(t->head);
	if (rc == 0 && !whole)
		rc = head_init(t, layout);
	if (rc != 0)
		return rc;
	memcpy(t->seed, t->head->seed, sizeof(t->seed));
	for (size_t i = 0; i < SHARDS; i++)
		slots_index(t, i, whole);
	return 0;
}

/*
 * Others use it now (the processes of a start before this one): only a table of just our shape can
 * be shared.
 */
static int file_join(struct shared_table *t, int fd, off_t size, uint32_t layout)
{
	int rc;

	if (size != (off_t)t->bytes)
		return EBUSY;
	rc = map(t, fd);
	if (rc == 0 && !head_fits(t, t->head, layout))
		rc = EBUSY;
	return rc;
}

/*
 * Whoever maps the file holds a shared lock on it through the descriptor, children by inheritance.
 * Who gets the exclusive one is alone, and may make the locks in it anew.
 */
static int file_open(struct shared_table *t, const char *name, uint32_t layout)
{
	struct stat st;
	int rc, fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno;
	t->fd = fd;
	if (fstat(fd, &st) != 0)
		return errno;
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
		return EPERM;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		rc = file_take(t, fd, st.st_size, layout);
		if (rc == 0 && flock(fd, LOCK_SH) != 0)
			rc = errno;
		return rc;
	}
	if (errno != EWOULDBLOCK)
		return errno;
	if (flock(fd, LOCK_SH) != 0) /* waits while another start makes it ready */
		return errno;
	if (fstat(fd, &st) != 0)
		return errno;
	return file_join(t, fd, st.st_size, layout);
}

struct shared_table *shared_table_new(const struct shared_table_config *config)
{
	struct shared_table *t = calloc(1, sizeof(*t));
	int rc;

	if (t == NULL)
		return NULL;
	t->fd = -1;
	rc = measure(t, config);
	if (rc == 0 && config->file != NULL) {
		rc = file_open(t, config->file, config->layout);
	} else if (rc == 0) {
		rc = map(t, -1);
		if (rc == 0)
			rc = locks_init(t->head);
		if (rc == 0)
			rc = head_init(t, config->layout);
	}
	if (rc != 0) {
		shared_table_free(t);
		errno = rc;
		return NULL;
	}
	memcpy(t->seed, t->head->seed, sizeof(t->seed));
	return t;
}

void shared_table_free(struct shared_table *t)
{
	if (t == NULL)
		return;
	if (t->head != NULL)
		munmap(t->head, t->bytes);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}
