/*
 * Bundle: a process gets exactly the files that it was meant to, as they were, and nothing that somebody could change later.
 */
#include "common/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define MAGIC "easgate bundle 1"	/* with its final NUL */
#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static char dir[] = "/tmp/easgate-bundle-XXXXXX";
static char a_file[64], b_file[64], empty_file[64], none_file[64];

static void put(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	fclose(f);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(a_file, sizeof(a_file), "%s/a", dir);
	snprintf(b_file, sizeof(b_file), "%s/b", dir);
	snprintf(empty_file, sizeof(empty_file), "%s/empty", dir);
	snprintf(none_file, sizeof(none_file), "%s/none", dir);
	put(a_file, "first\0line\nsecond", 17);
	put(b_file, "secret word\r\nand more\n", 22);
	put(empty_file, "", 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(a_file);
	unlink(b_file);
	unlink(empty_file);
	rmdir(dir);
	return 0;
}

static void files_come_out_as_they_went_in(void **state)
{
	const char *paths[] = { a_file, "", b_file, NULL, a_file, empty_file };
	char why[256] = "";
	int fd = bundle_build_with(paths, ARRAY_LEN(paths), "configuration", STRV("text"), why, sizeof(why));
	struct bundle *b = bundle_open(fd);
	struct strv data;

	(void)state;
	assert_non_null(b);
	assert_true(bundle_get(b, a_file, &data));
	assert_true(strv_eq(data, STRV("first\0line\nsecond")));
	assert_true(bundle_get(b, empty_file, &data));
	assert_int_equal(data.n, 0);
	assert_true(bundle_get(b, "configuration", &data));
	assert_true(strv_eq(data, STRV("text")));
	/* only those: the file is there on the disk, but was not meant for this process */
	assert_false(bundle_get(b, none_file, &data));
	assert_false(bundle_get(b, "/etc/passwd", &data));
	assert_false(bundle_get(b, "", &data));
	bundle_free(b);
	bundle_free(NULL);
}

static void a_secret_is_the_first_line(void **state)
{
	const char *paths[] = { a_file, b_file, empty_file };
	char why[256];
	struct bundle *b = bundle_open(bundle_build(paths, 3, why, sizeof(why)));
	struct strv data;

	(void)state;
	assert_true(bundle_get_secret(b, b_file, &data));
	assert_true(strv_eq(data, STRV("secret word")));
	assert_false(bundle_get_secret(b, empty_file, &data));
	assert_false(bundle_get_secret(b, none_file, &data));
	bundle_free(b);
}

static void nobody_can_change_it_afterwards(void **state)
{
	const char *paths[] = { a_file };
	char why[256];
	int fd = bundle_build(paths, 1, why, sizeof(why)), copy = dup(fd);
	struct bundle *b = bundle_open(fd);

	(void)state;
	assert_non_null(b);
	assert_int_equal(fcntl(copy, F_GET_SEALS) & ALL_SEALS, ALL_SEALS);
	assert_int_equal(pwrite(copy, "x", 1, 20), -1);
	assert_int_equal(ftruncate(copy, 0), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0), MAP_FAILED);
	close(copy);
	bundle_free(b);
}

static void what_cannot_be_read_is_named_with_the_cure(void **state)
{
	char fifo[64], why[256];
	const char *paths[] = { a_file, none_file }, *folder[] = { dir }, *pipes[] = { fifo }, *device[] = { "/dev/zero" };

	(void)state;
	assert_int_equal(bundle_build(paths, 2, why, sizeof(why)), -1);
	assert_non_null(strstr(why, none_file));
	assert_non_null(strstr(why, "No such file or directory: create it, or correct the path"));
	assert_int_equal(bundle_build(folder, 1, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "not a directory"));
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(bundle_build(pipes, 1, why, sizeof(why)), -1);	/* and does not wait for a writer */
	assert_non_null(strstr(why, "name a plain file"));
	unlink(fifo);
	assert_int_equal(bundle_build(device, 1, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "name a plain file"));
}

static void a_file_over_the_limit_is_refused(void **state)
{
	char why[256];
	const char *paths[] = { none_file };

	(void)state;
	put(none_file, "x", 1);
	assert_int_equal(truncate(none_file, (off_t)BUNDLE_MAX + 1), 0);
	assert_int_equal(bundle_build(paths, 1, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "64 MiB"));
	unlink(none_file);
}

/* What somebody else than the master might hand us. */
static struct bundle *open_bytes(const void *p, size_t n, int seals)
{
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
	if (seals != 0)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return bundle_open(fd);
}

static void what_is_not_sealed_is_refused(void **state)
{
	(void)state;
	assert_null(open_bytes(MAGIC, sizeof(MAGIC), 0));
	assert_null(open_bytes(MAGIC, sizeof(MAGIC), F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW));
	assert_null(bundle_open(open(a_file, O_RDONLY | O_CLOEXEC)));
	assert_null(bundle_open(open("/dev/null", O_RDONLY | O_CLOEXEC)));
}

/* Every length of a good bundle: cut anywhere but between two entries it is none. */
static void a_truncated_one_is_refused(void **state)
{
	struct { uint32_t name_n, data_n; char name[4], data[8]; } entry = { 4, 8, "name", "contents" };
	char bytes[sizeof(MAGIC) + sizeof(entry)];

	(void)state;
	memcpy(bytes, MAGIC, sizeof(MAGIC));
	memcpy(bytes + sizeof(MAGIC), &entry, sizeof(entry));
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		struct bundle *b = open_bytes(bytes, n, ALL_SEALS);
		struct strv data;

		if (n == sizeof(bytes)) {
			assert_non_null(b);
			assert_true(bundle_get(b, "name", &data));
			assert_true(strv_eq(data, STRV("contents")));
		} else if (n == sizeof(MAGIC)) {
			assert_non_null(b);
			assert_false(bundle_get(b, "name", &data));
		} else if (b != NULL) {
			fail_msg("taken with %zu bytes", n);
		}
		bundle_free(b);
	}
}

static void wrong_lengths_are_refused(void **state)
{
	static const struct { uint32_t name_n, data_n; } wrong[] = {
		{ 5, 8 }, { 4, 9 }, { 4, UINT32_MAX }, { UINT32_MAX, 8 }, { UINT32_MAX, UINT32_MAX }, { 4097, 0 }, { 4, 7 }, { 0x80000000, 4 },
	};
	struct { uint32_t name_n, data_n; char name[4], data[8]; } entry = { 4, 8, "name", "contents" };
	char bytes[sizeof(MAGIC) + sizeof(entry)];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct bundle *b;

		entry.name_n = wrong[i].name_n;
		entry.data_n = wrong[i].data_n;
		memcpy(bytes, MAGIC, sizeof(MAGIC));
		memcpy(bytes + sizeof(MAGIC), &entry, sizeof(entry));
		b = open_bytes(bytes, sizeof(bytes), ALL_SEALS);
		if (b != NULL)
			fail_msg("taken with lengths %u and %u", wrong[i].name_n, wrong[i].data_n);
	}
	memcpy(bytes, "easgate bundle 2", sizeof(MAGIC));
	assert_null(open_bytes(bytes, sizeof(bytes), ALL_SEALS));
}

static void tools_read_from_the_disk(void **state)
{
	struct bundle *b = bundle_from_disk();
	struct strv data;

	(void)state;
	assert_non_null(b);
	assert_true(bundle_get(b, a_file, &data));
	assert_true(strv_eq(data, STRV("first\0line\nsecond")));
	assert_true(bundle_get_secret(b, b_file, &data));
	assert_true(strv_eq(data, STRV("secret word")));
	assert_false(bundle_get(b, none_file, &data));
	assert_false(bundle_get(b, dir, &data));
	assert_false(bundle_get(b, "", &data));
	bundle_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_come_out_as_they_went_in),
		cmocka_unit_test(a_secret_is_the_first_line),
		cmocka_unit_test(nobody_can_change_it_afterwards),
		cmocka_unit_test(what_cannot_be_read_is_named_with_the_cure),
		cmocka_unit_test(a_file_over_the_limit_is_refused),
		cmocka_unit_test(what_is_not_sealed_is_refused),
		cmocka_unit_test(a_truncated_one_is_refused),
		cmocka_unit_test(wrong_lengths_are_refused),
		cmocka_unit_test(tools_read_from_the_disk),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
