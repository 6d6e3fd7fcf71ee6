/*
 * check: `easproxy check`: the configuration tried out, a line for each finding.
 */
#ifndef EASGATE_PROXY_CHECK_H
#define EASGATE_PROXY_CHECK_H

/* Prints "ok ..." and "FAILED ...: why: cure" lines on standard output. Returns 0 when all is well, else 1. */
int check_run(const char *config_file);

#endif
