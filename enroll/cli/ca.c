/*
 * ca: the words of `easenroll ca`. Parses them and runs one; makes nothing itself. Runs as a command of its own, as root.
 */
#include "enroll/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/text.h"
#include "enroll/cli/ca_parts.h"
#include "enroll/signer/folder.h"

const char cli_ca_usage[] =
    "easenroll ca init [--name NAME] [--rsa] [--key pkcs11:URI] [--subordinate --csr-out FILE]\n"
    "        a new CA: root and issuing CA, or with --subordinate a request that an existing CA signs\n"
    "easenroll ca import --certificate FILE [--key FILE|pkcs11:URI] [--chain FILE] [--name NAME]\n"
    "        the certificate for such a request, or an issuing CA that exists already with its key\n"
    "easenroll ca rollover [--rsa] [--key pkcs11:URI] [--subordinate --csr-out FILE]\n"
    "        the next issuing CA, announced to clients; certificates of the present one stay valid\n"
    "easenroll ca rollover --activate\n"
    "        takes the next issuing CA into use\n"
    "easenroll ca show [--json]\n";

static const struct option options[] = {
	{ "rsa", no_argument, NULL, 'r' },
	{ "subordinate", no_argument, NULL, 's' },
	{ "activate", no_argument, NULL, 'a' },
	{ "json", no_argument, NULL, 'j' },
	{ "name", required_argument, NULL, 'n' },
	{ "csr-out", required_argument, NULL, 'o' },
	{ "certificate", required_argument, NULL, 'c' },
	{ "key", required_argument, NULL, 'k' },
	{ "chain", required_argument, NULL, 'h' },
	{ 0 },
};

static int parse(int argc, char **argv, struct ca_options *o)
{
	int c;

	optind = 0; /* main has parsed its own words before */
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r': o->rsa = true; break;
		case 's': o->subordinate = true; break;
		case 'a': o->activate = true; break;
		case 'j': o->json = true; break;
		case 'n': o->name = optarg; break;
		case 'o': o->csr_out = optarg; break;
		case 'c': o->certificate = optarg; break;
		case 'k': o->key = optarg; break;
		case 'h': o->chain = optarg; break;
		default: return -1;
		}
	}
	return optind == argc && o->subordinate == (o->csr_out != NULL) ? 0 : -1;
}

/* One command at a time on a folder. The lock ends with the process. */
static int lock_folder(const char *folder, struct refusal *r)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		return refuse(r, SIGNER_NONE, "%s holds no CA: easenroll ca init makes one", folder);
	if (fd < 0)
		return refuse(r, SIGNER_BROKEN, "%s: %s%s", folder, strerror(errno), errno == EACCES ? ": run this as root" : "");
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return refuse(r, SIGNER_REFUSED, "%s: another easenroll ca works on it", folder);
	}
	return fd;
}

/* What would otherwise be found out when the folder is half made. */
static int check_words(const char *word, const struct ca_options *o, struct refusal *r)
{
	bool uri = o->key != NULL && key_is_token(o->key);

	if (strlen(o->name) == 0 || strlen(o->name) > CA_NAME_MAX || !text_is_clean(strv_from(o->name)))
		return refuse(r, SIGNER_REFUSED, "--name (if not given: enroll.mail.organization): 1 to %d bytes of UTF-8 without control characters", CA_NAME_MAX);
	if (o->key != NULL && !uri && strcmp(word, "import") != 0)
		return refuse(r, SIGNER_REFUSED, "--key %s: not a key in a token (pkcs11:...): a key in a file is made here, or brought with its certificate by easenroll ca import", o->key);
	if (uri && (strlen(o->key) >= CA_KEY_MAX || !text_is_clean(strv_from(o->key))))
		return refuse(r, SIGNER_REFUSED, "--key: a URI of at most %d bytes without control characters", CA_KEY_MAX - 1);
	return 0;
}

static int run(const char *word, const struct ca_options *o, struct refusal *r)
{
	int fd, rc;

	if (strcmp(word, "show") == 0)
		return ca_show(o, r);
	if (check_words(word, o, r) < 0 || (strcmp(word, "rollover") != 0 && folder_make(o->folder, r) < 0) ||
	    (fd = lock_folder(o->folder, r)) < 0)
		return -1;
	rc = strcmp(word, "init") == 0	? ca_init(o, r) :
	    strcmp(word, "import") == 0 ? ca_import(o, r) :
					  ca_rollover(o, r);
	close(fd);
	return rc;
}

static bool good_words(const char *word, const struct ca_options *o)
{
	if (strcmp(word, "init") == 0)
		return !o->activate && o->certificate == NULL && o->chain == NULL && !o->json;
	if (strcmp(word, "import") == 0)
		return o->certificate != NULL && !o->activate && !o->subordinate && !o->rsa &&
		    !o->json;
	if (strcmp(word, "rollover") == 0)
		return o->certificate == NULL && o->chain == NULL && o->name == NULL && !o->json &&
		    (!o->activate || (!o->subordinate && !o->rsa && o->key == NULL));
	return strcmp(word, "show") == 0 && o->name == NULL && o->key == NULL &&
	    o->certificate == NULL && !o->activate && !o->subordinate;
}

int cli_ca(const struct cli *c)
{
	const struct enroll_section *e = &c->settings->enroll;
	struct ca_options o = { .folder = e->ca.folder,
		.source = { e->ca.key_password_file, e->ca.pkcs11_module, e->ca.pin_file } };
	struct refusal r = { 0 };

	if (c->argc < 1 || parse(c->argc, c->argv, &o) < 0 || !good_words(c->argv[0], &o)) {
		fputs(cli_ca_usage, stderr);
		return 2;
	}
	o.json = o.json || c->json;
	if (o.name == NULL)
		o.name = e->mail.organization[0] != '\0' ? e->mail.organization : "easenroll";
	if (run(c->argv[0], &o, &r) < 0) {
		fprintf(stderr, "easenroll ca %s: %s\n", c->argv[0], r.text);
		return 1;
	}
	return 0;
}
