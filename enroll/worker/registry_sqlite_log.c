/*
 * registry_sqlite_log: how the write-ahead log reaches its file: the frames of a commit by one write for thirty pages, not two for each.
 *
 * A layer below SQLite (a "VFS") that is the usual one but for the log: frames that are appended one behind the other are gathered, and written when the
 * commit's last frame is there, before SQLite tells anybody of the commit; a write that fails then fails the commit. Whatever else SQLite does with the log
 * (reads it, rewrites a frame, cuts it, syncs it) first has what was gathered written, and goes straight on to the file.
 * The format (https://www.sqlite.org/fileformat2.html, 4.1): a header of 32 bytes, then frames: a header of 24 bytes, of which 4 to 7 are other than 0 in
 * the last frame of a commit, and a page. Worker process.
 */
#include <stdlib.h>

#include "enroll/worker/registry_parts.h"

#define NAME	     "easgate-log"
#define FRAME_HEADER 24
#define PAGE_MIN     512
#define PAGE_MAX     65536
#define ROOM	     0x1ffff	/* of what is gathered; SQLite's own write takes no more at once. A longer commit has more than one */

struct log_file {
	sqlite3_file base;
	sqlite3_file *file;	/* the usual one, behind us in SQLite's memory */
	char *room;		/* NULL: nothing was gathered yet */
	int gathered;		/* bytes in it, for the file's bytes from `from` on */
	sqlite3_int64 from;
	sqlite3_int64 end;	/* where the next frame would be appended; -1: nobody knows */
	int page;		/* bytes of one, as of the last that was written */
	bool page_next;		/* the last thing gathered is a frame's header */
	bool ends_commit;	/* of the last frame of a commit */
};

static sqlite3_vfs *usual;

static int write_gathered(struct log_file *l)
{
	int n = l->gathered, rc;

	if (n == 0)
		return SQLITE_OK;
	l->gathered = 0;
	l->page_next = l->ends_commit = false;
	rc = l->file->pMethods->xWrite(l->file, l->room, n, l->from);
	if (rc != SQLITE_OK)
		l->end = -1;
	return rc;
}

static int close_log(sqlite3_file *f)
{
	struct log_file *l = (struct log_file *)f;
	int rc = write_gathered(l);

	free(l->room);
	l->room = NULL;
	return rc == SQLITE_OK ? l->file->pMethods->xClose(l->file) : (l->file->pMethods->xClose(l->file), rc);
}

static int read_log(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	struct log_file *l = (struct log_file *)f;
	int rc = write_gathered(l);

	/* what is read may be a frame whose header is written again: not appended */
	l->end = -1;
	return rc == SQLITE_OK ? l->file->pMethods->xRead(l->file, p, n, at) : rc;
}

static int write_through(struct log_file *l, const void *p, int n, sqlite3_int64 at)
{
	int rc = write_gathered(l);

	if (rc == SQLITE_OK)
		rc = l->file->pMethods->xWrite(l->file, p, n, at);
	l->end = rc == SQLITE_OK ? at + n : -1;
	if (n >= PAGE_MIN)
		l->page = n;
	return rc;
}

static int gather(struct log_file *l, const void *p, int n, sqlite3_int64 at)
{
	if (l->gathered == 0)
		l->from = at;
	memcpy(l->room + l->gathered, p, (size_t)n);
	l->gathered += n;
	l->end = at + n;
	return SQLITE_OK;
}

static int write_log(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	struct log_file *l = (struct log_file *)f;
	const uint8_t *header = p;
	int rc;

	if (at != l->end || n > PAGE_MAX || (l->page_next ? n < PAGE_MIN || n > l->page : n != FRAME_HEADER))
		return write_through(l, p, n, at);
	if (l->page_next) {
		l->page_next = false;
		rc = gather(l, p, n, at);
		return l->ends_commit ? write_gathered(l) : rc;
	}
	if (l->gathered + FRAME_HEADER + l->page > ROOM && (rc = write_gathered(l)) != SQLITE_OK)
		return rc;
	if (l->room == NULL && (l->room = malloc(ROOM)) == NULL)
		return write_through(l, p, n, at);
	l->page_next = true;
	l->ends_commit = (header[4] | header[5] | header[6] | header[7]) != 0;
	return gather(l, p, n, at);
}

static int cut_log(sqlite3_file *f, sqlite3_int64 size)
{
	struct log_file *l = (struct log_file *)f;
	int rc = write_gathered(l);

	l->end = -1;
	return rc == SQLITE_OK ? l->file->pMethods->xTruncate(l->file, size) : rc;
}

static int sync_log(sqlite3_file *f, int flags)
{
	struct log_file *l = (struct log_file *)f;
	int rc = write_gathered(l);

	return rc == SQLITE_OK ? l->file->pMethods->xSync(l->file, flags) : rc;
}

static int log_size(sqlite3_file *f, sqlite3_int64 *size)
{
	struct log_file *l = (struct log_file *)f;
	int rc = write_gathered(l);

	return rc == SQLITE_OK ? l->file->pMethods->xFileSize(l->file, size) : rc;
}

static int lock_log(sqlite3_file *f, int how)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xLock(l->file, how);
}

static int unlock_log(sqlite3_file *f, int how)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xUnlock(l->file, how);
}

static int check_log(sqlite3_file *f, int *out)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xCheckReservedLock(l->file, out);
}

static int control_log(sqlite3_file *f, int what, void *arg)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xFileControl(l->file, what, arg);
}

static int log_sector(sqlite3_file *f)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xSectorSize(l->file);
}

static int log_device(sqlite3_file *f)
{
	struct log_file *l = (struct log_file *)f;

	return l->file->pMethods->xDeviceCharacteristics(l->file);
}

static const sqlite3_io_methods log_methods = { .iVersion = 1, .xClose = close_log, .xRead = read_log, .xWrite = write_log, .xTruncate = cut_log,
	.xSync = sync_log, .xFileSize = log_size, .xLock = lock_log, .xUnlock = unlock_log, .xCheckReservedLock = check_log, .xFileControl = control_log,
	.xSectorSize = log_sector, .xDeviceCharacteristics = log_device };

static int open_any(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
	struct log_file *l = (struct log_file *)f;
	int rc;

	(void)vfs;
	if ((flags & SQLITE_OPEN_WAL) == 0)
		return usual->xOpen(usual, name, f, flags, out_flags);
	*l = (struct log_file){ .file = (sqlite3_file *)(l + 1), .end = -1, .page = PAGE_MAX };
	rc = usual->xOpen(usual, name, l->file, flags, out_flags);
	/* else SQLite closes what could not be opened */
	l->base.pMethods = l->file->pMethods != NULL ? &log_methods : NULL;
	return rc;
}

const char *reg_log_vfs(void)
{
	static sqlite3_vfs vfs;

	if (usual == NULL) {
		sqlite3_vfs *found = sqlite3_vfs_find(NULL);
		if (found == NULL)
			return NULL;
		vfs = *found;
		vfs.pNext = NULL;
		vfs.zName = NAME;
		vfs.szOsFile += (int)sizeof(struct log_file);
		vfs.xOpen = open_any;
		if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
			return NULL;
		usual = found;
	}
	return NAME;
}
