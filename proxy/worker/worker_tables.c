/*
 * worker_tables: the node's tables, made by the master before any fork. Worker process, and each other role for a moment.
 */
#include "common/shared_table.h"
#include "proxy/worker/worker.h"

/* Inherited over fork; the only thing that workers share by memory. */
static struct {
	struct session_records *records;
	struct shared_table *devices;
} tables;

void worker_use_tables(struct session_records *records, struct shared_table *devices)
{
	tables.records = records;
	tables.devices = devices;
}

void worker_forget_tables(void)
{
	session_record_free(tables.records);
	tables.records = NULL;
	shared_table_free(tables.devices);
	tables.devices = NULL;
}

struct session_records *worker_session_records(void)
{
	return tables.records;
}

struct shared_table *worker_device_table(void)
{
	return tables.devices;
}
