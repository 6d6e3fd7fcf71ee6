/*
 * device_cli: `easproxy device list | release | block | forget`: by Redis, or by the table beside a running easproxy. Runs alone, may block.
 */
#ifndef EASGATE_DEVICE_CLI_H
#define EASGATE_DEVICE_CLI_H

/* words: what stands behind "device". Prints to standard output; returns the exit status: 0 done, 1 not done, 2 wrong words. */
int device_cli(const char *config_file, int words_n, char **words);

#endif
