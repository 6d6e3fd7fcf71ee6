/*
 * program: easenroll as the master sees it: which processes, which files each may read, which sockets.
 */
#ifndef EASGATE_ENROLL_PROGRAM_H
#define EASGATE_ENROLL_PROGRAM_H

#include "common/master.h"
#include "enroll/settings.h"
#include "enroll/signer/setup.h"

#define ENROLL_PROFILES_MAX 64

extern const struct master_program easenroll_program;

/* The configuration of a file; NULL with error. */
struct enroll_settings *enroll_program_settings(const char *config_file, struct config_error *error);
/* Builds what workers build, from the disk: what `check` and a reload's trial do. 0, or -1 with why. */
MUST_CHECK int enroll_program_trial(const struct enroll_settings *s, struct bundle *files, char *why, size_t why_size);

/* The signer's view of the settings: for the process and for `easenroll ca ...`. Borrows s. */
struct enroll_signer_setup {
	struct signer_setup setup;
	struct signer_profile profiles[ENROLL_PROFILES_MAX];
	char crl_folder[4096];
};
void enroll_signer_setup(const struct enroll_settings *s, struct enroll_signer_setup *out);

#endif
