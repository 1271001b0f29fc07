/* Tries to break: with --network none nothing goes out or comes in but by sockets inside the machine.
 * argv[3], argv[4]: a TCP and a UDP port on which the host listens at 127.0.0.1. */
#include "race.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static struct sockaddr_in at(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static void reach(way *how, const char *name, int tcp, int udp) {
    struct sockaddr_in t = at(tcp), u = at(udp), any = at(0);
    struct sockaddr_in6 t6 = {.sin6_family = AF_INET6, .sin6_port = htons(tcp)};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &t6.sin6_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0), s6 = socket(AF_INET6, SOCK_STREAM, 0);
    if (CALL(how, SYS_connect, s, (long)&t, sizeof t) == 0) ESCAPED("TCP %s", name);
    if (CALL(how, SYS_connect, s6, (long)&t6, sizeof t6) == 0) ESCAPED("TCP over IPv6 %s", name);
    if (CALL(how, SYS_connect, d, (long)&u, sizeof u) == 0) ESCAPED("UDP %s", name);
    if (CALL(how, SYS_sendto, d, (long)"x", 1, 0, (long)&u, sizeof u) >= 0) ESCAPED("UDP without connect %s", name);
    struct sockaddr_in unspecified = u;
    unspecified.sin_family = AF_UNSPEC;                     /* as good as AF_INET to UDP */
    if (CALL(how, SYS_sendto, d, (long)"x", 1, 0, (long)&unspecified, sizeof u) >= 0) ESCAPED("UDP of no family %s", name);
    if (CALL(how, SYS_sendto, s, (long)"x", 1, MSG_FASTOPEN, (long)&t, sizeof t) >= 0) ESCAPED("TCP fast open %s", name);
    struct iovec data = {"x", 1};
    struct mmsghdr message = {{.msg_name = &u, .msg_namelen = sizeof u, .msg_iov = &data, .msg_iovlen = 1}};
    if (CALL(how, SYS_sendmsg, d, (long)&message, 0) >= 0) ESCAPED("sendmsg %s", name);
    message.msg_hdr.msg_name = &unspecified;
    if (CALL(how, SYS_sendmsg, d, (long)&message, 0) >= 0) ESCAPED("sendmsg to no family %s", name);
    message.msg_hdr.msg_name = &u;
    if (CALL(how, SYS_sendmmsg, d, (long)&message, 1, 0) >= 0) ESCAPED("sendmmsg %s", name);
    if (CALL(how, SYS_bind, s, (long)&any, sizeof any) == 0) ESCAPED("bind %s", name);
    if (CALL(how, SYS_bind, d, (long)&any, sizeof any) == 0) ESCAPED("UDP bind %s", name);
    if (CALL(how, SYS_listen, s, 1) == 0) ESCAPED("listen %s", name);
    struct ip_mreq group = {{inet_addr("224.0.0.251")}, {htonl(INADDR_ANY)}};
    if (CALL(how, SYS_setsockopt, d, IPPROTO_IP, IP_ADD_MEMBERSHIP, (long)&group, sizeof group) == 0) ESCAPED("joined a group %s", name);
    for (int kind = 1; kind < 6; kind++) {
        if (CALL(how, SYS_socket, AF_PACKET, kind, htons(3)) >= 0) ESCAPED("a packet socket %s", name);
        if (CALL(how, SYS_socket, 40, kind, 0) >= 0) ESCAPED("a vsock %s", name);
    }
    if (CALL(how, SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0) ESCAPED("a raw socket %s", name);
    if (CALL(how, SYS_socket, AF_INET, SOCK_SEQPACKET, 132) >= 0) ESCAPED("SCTP %s", name);
    close(s), close(d), close(s6);
}

/* The address of a message is changed by another thread while it is looked at. */
static struct sockaddr_storage target;
static struct msghdr header;
static int port, datagrams;
static void swap_target(void) {
    struct sockaddr_in out = at(port);
    memcpy(&target, &out, sizeof out);
    header.msg_namelen = sizeof out;
    AND_NOW();
    target.ss_family = AF_UNSPEC;
    header.msg_namelen = 0;
}
static void send_to_target(void) {
    if (TRY(connect(datagrams, (void *)&target, 16)) == 0 && target.ss_family == AF_INET) connect(datagrams, (void *)&target, 2);
    TRY(sendto(datagrams, "x", 1, 0, (void *)&target, 16));
    TRY(sendmsg(datagrams, &header, 0));
}
static void swapped(void) {
    static struct iovec data = {"x", 1};
    header = (struct msghdr){.msg_name = &target, .msg_iov = &data, .msg_iovlen = 1};
    datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    race("message", swap_target, send_to_target);
}

/* What must work. */
static void local(void) {
    int pair[2];
    char text[4] = "";
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || write(pair[0], "in", 2) != 2 || read(pair[1], text, 2) != 2)
        ESCAPED("a socket pair does not work");
    struct sockaddr_un name = unix_name("/tmp/own");
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(server, (void *)&name, sizeof name) || listen(server, 1) || connect(client, (void *)&name, sizeof name))
        ESCAPED("a named socket inside does not work");
    if (socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) < 0) ESCAPED("netlink does not work");
}

int main(int argc, char **argv) {
    begin(argc, argv);
    int tcp = atoi(argv[3]), udp = atoi(argv[4]);
    port = udp;
    for (int i = 0; i < WAYS; i++) reach(ways[i].call, ways[i].name, tcp, udp);
    swapped();
    local();
    return HELD();
}
