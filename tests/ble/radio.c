/*
 * The guest's virtual controllers: BlueZ's emulated controller, edited by vm.sh, with a range. Compiled in BlueZ's source.
 *
 *   radio N
 */
#include <stdbool.h>

struct btdev;
static bool hears(const struct btdev *a, const struct btdev *b);
static unsigned short free_handle(struct btdev *a, struct btdev *b, unsigned short handle);
static void complete_if_cut(struct btdev *dev, const void *packet);

#include "emulator/btdev.c"
#include "emulator/vhci.h"
#include "src/shared/mainloop.h"

#define LOOK_EVERY_MS 200
#define CONNECTION_TIMEOUT 0x08

static bool apart[MAX_BTDEV_ENTRIES][MAX_BTDEV_ENTRIES];

/* The id is the N of hciN. */
static bool hears(const struct btdev *a, const struct btdev *b)
{
	return a != b && !apart[a->id % MAX_BTDEV_ENTRIES][b->id % MAX_BTDEV_ENTRIES];
}

static unsigned short free_handle(struct btdev *a, struct btdev *b, unsigned short handle)
{
	while (queue_find(a->conns, match_handle, UINT_TO_PTR(handle)) ||
	       queue_find(b->conns, match_handle, UINT_TO_PTR(handle)))
		handle++;
	return handle;
}

static bool is_lost(const void *data, const void *unused)
{
	const struct btdev_conn *conn = data;

	return conn->link && !hears(conn->dev, conn->link->dev);
}

static void cut_lost_links(struct btdev *dev)
{
	struct btdev_conn *conn;

	while ((conn = queue_find(dev->conns, is_lost, NULL))) {
		struct btdev_conn *other = conn->link;

		printf("link of hci%u and hci%u is cut\n", conn->dev->id, other->dev->id);
		disconnect_complete(conn->dev, conn->handle, BT_HCI_ERR_SUCCESS, CONNECTION_TIMEOUT);
		disconnect_complete(other->dev, other->handle, BT_HCI_ERR_SUCCESS, CONNECTION_TIMEOUT);
		conn_remove(conn);
	}
}

/*
 * The host takes a cut link's buffers back without waking its other links, which wait for them. Every completed packet
 * wakes them.
 */
static void complete_if_cut(struct btdev *dev, const void *packet)
{
	const struct bt_hci_acl_hdr *header = packet;
	struct btdev_conn cut = { .handle = acl_handle(header->handle) };

	if (!queue_find(dev->conns, match_handle, UINT_TO_PTR(cut.handle)))
		num_completed_packets(dev, &cut);
}

static bool look_at_range(void *unused)
{
	bool now[MAX_BTDEV_ENTRIES][MAX_BTDEV_ENTRIES] = {};
	FILE *file = fopen(getenv("BLE_RANGE"), "r");
	char line[64];
	bool empty = true;
	unsigned a, b;
	int i;

	if (file) {
		memset(now, true, sizeof(now));
		while (fgets(line, sizeof(line), file)) {
			empty = false;
			if (sscanf(line, "%u %u", &a, &b) == 2 && a < MAX_BTDEV_ENTRIES && b < MAX_BTDEV_ENTRIES)
				now[a][b] = now[b][a] = false;
		}
		fclose(file);
		if (empty)
			return true;
	}
	if (!memcmp(now, apart, sizeof(now)))
		return true;

	memcpy(apart, now, sizeof(now));
	printf("range changed\n");
	for (i = 0; i < MAX_BTDEV_ENTRIES; i++)
		if (btdev_list[i])
			cut_lost_links(btdev_list[i]);
	return true;
}

int main(int argc, char *argv[])
{
	int left = argc == 2 ? atoi(argv[1]) : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mainloop_init();
	for (; left > 0; left--)
		if (!vhci_open(BTDEV_TYPE_BREDRLE52)) {
			perror("radio: /dev/vhci");
			return 1;
		}
	timeout_add(LOOK_EVERY_MS, look_at_range, NULL, NULL);
	return mainloop_run();
}
