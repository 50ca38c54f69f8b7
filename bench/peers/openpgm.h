/* A socket of libpgm, and what both its roles and its set-up need to know. openpgm_socket.c opens it and moves messages; openpgm.c plays
 * the roles. */
#ifndef PEERS_OPENPGM_H
#define PEERS_OPENPGM_H

#include "common.h"

/* Before libpgm's header, which declares what has to do with poll only behind it. */
#include <poll.h>

#include <pgm/pgm.h>

/* Messages that one call of receive may bring. */
#define VECTORS 64

struct settings {
	const char *network;
	int64_t port;
	const char *udp;
	int64_t count;
	struct sizes sizes;
	int64_t rate;
	int64_t pace;
	int64_t window;
	const char *nak;
	int64_t mtu;
	bool spin;
	int64_t core;
	int64_t timeout_s;
	int64_t linger_ms;
	bool late;
	int64_t seconds;
	bool ready;
	bool answers; /* what must be sent is not known beforehand */
};

struct peer {
	const struct settings *settings;
	pgm_sock_t *sock;
	struct report report;
	struct pgm_msgv_t vectors[VECTORS];
	uint8_t *buffer;   /* aligned, with room for the largest message */
	uint32_t mtu;      /* octets of IP that a packet may have */
	uint32_t single;   /* octets that fit a packet */
	uint32_t fragment; /* octets of a fragment */
	uint64_t finished; /* sessions that said FIN */
};

/* What a look at the network brought. */
enum news {
	NEWS_NONE,
	NEWS_MESSAGES,
	NEWS_EVENT,
};

/* Opens the socket, joins the group; whatever libpgm refuses ends the program. */
void peer_open(struct peer *peer, const struct settings *settings, bool sends, bool receives);
/* Where a message of this length is written, so that Debian's libpgm survives to copy it. */
uint8_t *place(const struct peer *peer, uint32_t length);
/* Sends one message, however long it takes; false if we were stopped. */
bool send_one(struct peer *peer, const uint8_t *message, uint32_t length);
/* Looks once; `*octets` came in with NEWS_MESSAGES, from the first of the vectors on. */
enum news receive(struct peer *peer, size_t *octets);
/* Hands what came to `each`, message by message. */
void each_message(struct peer *peer, size_t octets,
		  void (*each)(void *to, const pgm_tsi_t *tsi, const struct chunk *chunks, size_t count), void *to);
/* Lets libpgm do its work where no data is wanted: timers, NAKs in, repairs out. */
void serve(struct peer *peer);
/* Sleeps until a packet comes or libpgm's time by this option is over, and never long; not at all with --spin. */
void wait_for_news(struct peer *peer, int time_option);

#endif
