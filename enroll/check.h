/*
 * check: `easenroll check`: tries every file, folder, key and address that the configuration names. Runs alone.
 */
#ifndef EASGATE_ENROLL_CHECK_H
#define EASGATE_ENROLL_CHECK_H

/* One line a finding on standard output. The exit status. */
int enroll_check_run(const char *config_file);

#endif
