/*
 * file: follows the accounts' file. Knows when to read, not what is in it (accounts.c).
 * Looks by stat(), which sees renames, symbolic links and mounts alike; inotify would miss some of
 * them. Runs in the *directory* process; the file's directory must stay readable to it (Landlock,
 * modes).
 */
#include "common/directory/file.h"

#include <errno.h>
#include <stdarg.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/directory/accounts.h"
#include "common/directory/password_hash.h"
#include "common/log.h"

#define LOOK_MS	    250
#define AGAIN_MS 3000
#define CHANGES_MAX 1000

struct look {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed, modified;
	int error;
};

struct directory_file {
	struct loop *loop;
	struct directory_file_setup setup;
	struct accounts *accounts; /* NULL: none was ever good */
	struct look read, last;	   /* as it was when read; at the last look */
	struct deadline next;
	unsigned changes;
	bool failed;		/* the last reading: `read` is not what is in force */
	uint64_t tried_ms;
	char said[300];		/* why */
};

static struct look look_at(const char *path)
{
	struct look l;
	struct stat st;

	memset(&l, 0, sizeof(l)); /* compared as bytes */
	if (stat(path, &st) < 0) {
		l.error = errno;
		return l;
	}
	l.device = st.st_dev;
	l.inode = st.st_ino;
	l.size = st.st_size;
	l.changed = st.st_ctim;
	l.modified = st.st_mtim;
	return l;
}

static bool same_look(const struct look *a, const struct look *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static void count_change(void *arg, const char *sid)
{
	struct directory_file *f = arg;

	(void)sid;
	f->changes++;
}

static void tell_changes(
    struct directory_file *f, const struct accounts *before, const struct accounts *after)
{
	f->changes = 0;
	accounts_compare(before, after, count_change, f);
	if (f->changes > CHANGES_MAX)
		f->setup.changed(f->setup.arg, "");
	else
		accounts_compare(before, after, f->setup.changed, f->setup.arg);
}

/* Once for each reason. */
PRINTF(2, 3) static void fail(struct directory_file *f, const char *fmt, ...)
{
	char text[sizeof(f->said)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	f->failed = true;
	if (strcmp(text, f->said) != 0)
		log_say(LOG_ERROR, "accounts_unusable", "%s", text);
	memcpy(f->said, text, sizeof(text));
}

static void take(struct directory_file *f, struct strv text)
{
	struct config_error error = { "" };
	struct accounts *old = f->accounts, *now;
	unsigned duplicates = 0;

	now = accounts_load(
	    f->setup.path, text, f->setup.groups, f->setup.groups_count, &duplicates, &error);
	if (now == NULL) {
		fail(f, "%s; %s", error.text,
		    old != NULL ? "the old accounts stay in force"
				: "nobody is let in until it is corrected");
		return;
	}
	f->accounts = now;
	f->failed = false;
	f->said[0] = '\0';
	log_say(LOG_INFO, "directory_up", "%s: %zu accounts, %u names stand twice", f->setup.path,
	    accounts_count(now), duplicates);
	tell_changes(f, old, now);
	accounts_free(old);
}

static void read_again(struct directory_file *f)
{
	struct config_error error = { "" };
	char *text = NULL;
	size_t n = 0;

	f->tried_ms = loop_now_ms(f->loop);
	if (f->last.error != 0) {
		fail(f,
		    "%s: %s; the accounts last read stay in force: put the file back",
		    f->setup.path, strerror(f->last.error));
		return;
	}
	if (config_read_file(f->setup.path, &text, &n, &error) < 0) {
		fail(f,
		    "%s changed and cannot be read (%s); the accounts last read stay in "
		    "force: let the configured user read it, or reload",
		    f->setup.path, error.text);
		return;
	}
	take(f, (struct strv){ text, n });
	free(text);
}

/* What failed for want of memory or descriptors need not fail again. */
static bool try_again(const struct directory_file *f)
{
	return f->failed && loop_now_ms(f->loop) - f->tried_ms >= AGAIN_MS;
}

static void on_look(struct deadline *d)
{
	struct directory_file *f = CONTAINER_OF(d, struct directory_file, next);
	struct look now = look_at(f->setup.path);

	/* Twice the same: whoever writes it has paused. */
	if ((!same_look(&now, &f->read) || try_again(f)) && same_look(&now, &f->last)) {
		f->read = now;
		read_again(f);
	}
	f->last = now;
	deadline_arm(f->loop, &f->next, LOOK_MS, on_look);
}

struct directory_file *directory_file_new(
    struct loop *loop, const struct directory_file_setup *setup, struct strv text)
{
	struct directory_file *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	f->loop = loop;
	f->setup = *setup;
	f->read = f->last = look_at(setup->path);
	if (time(NULL) - f->read.modified.tv_sec < 5)
		memset(&f->read, 0,
		    sizeof(
			f->read)); /* it may have changed after `text` was taken: read it again */
	take(f, text);
	deadline_arm(loop, &f->next, LOOK_MS, on_look);
	return f;
}

void directory_file_free(struct directory_file *f)
{
	if (f == NULL)
		return;
	deadline_disarm(&f->next);
	accounts_free(f->accounts);
	free(f);
}

/* Stands for pwdLastSet: another hash, another number. */
static int64_t generation_of(const char *hash)
{
	uint8_t digest[SHA256_SIZE];
	int64_t number = 0;

	if (hash == NULL || EVP_Digest(hash, strlen(hash), digest, NULL, EVP_sha256(), NULL) != 1)
		return 0;
	memcpy(&number, digest, sizeof(number));
	return number & INT64_MAX;
}

enum account_result directory_file_find(
    struct directory_file *f, uint32_t kind, const char *value, struct account *out)
{
	const char *any;
	enum account_result result;

	memset(out, 0, sizeof(*out));
	if (f->accounts == NULL)
		return ACCOUNT_UNAVAILABLE;
	result = accounts_find(f->accounts, kind, value, out);
	if (result == ACCOUNT_FOUND) {
		out->lockout_known = 1; /* a file locks nobody */
		out->pwd_last_set = generation_of(accounts_password(f->accounts, out->sid, &any));
	}
	return result;
}

void directory_file_hashes(const struct directory_file *f, const char *sid, char *own, char *like)
{
	const char *any = NULL, *hash = f->accounts != NULL ? accounts_password(f->accounts, sid, &any) : NULL;

	snprintf(own, PASSWORD_HASH_MAX, "%s", hash != NULL ? hash : "");
	snprintf(like, PASSWORD_HASH_MAX, "%s", any != NULL ? any : "");
}

void directory_file_members(struct directory_file *f, unsigned group, struct directory_file_walk *walk, struct directory_member_page *page)
{
	if (f->accounts == NULL || (walk->accounts != NULL && walk->accounts != f->accounts))
		return;
	walk->accounts = f->accounts;
	accounts_members(f->accounts, group, loop_wall(f->loop), &walk->at, page);
}
