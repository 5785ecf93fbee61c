// Sends frames through the receive path of network namespaces, in turn, and prints what each cost.
//
//   frames FAMILY SOURCES COUNT RUNS INTERFACE TO NETNS...
//
// FAMILY is 4 or 6. SOURCES is a file of 16-byte source addresses (IPv4: the first four bytes), a power of two of
// them. Each run sends COUNT frames through INTERFACE of every namespace and prints one line for each segment of
// 8,192 frames but the first, which warms the caches: the namespace's place in the arguments and nanoseconds a
// frame. After ENOUGH seconds no run begins but the first two; the last line is the number of frames each namespace
// got. Exit status 77: this kernel or user may not do it.
//
//   BPF_PROG_TEST_RUN ──frame──► XDP program: next source ──XDP_PASS──► receive path of INTERFACE ──► rules ──► socket
//
// The kernel makes the frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18), so nothing but the receive path is timed.
// The program is assembled by hand and loaded with bpf(2) itself: it needs the compiler that Rust links with, and
// neither clang nor libbpf. It is C because the workspace forbids `unsafe`, which every raw system call is in Rust.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT_BITS 13
#define SEGMENT (1 << SEGMENT_BITS) // frames between two time stamps
#define STAMPS 512    // segments of a run at most
#define FRAME 64      // bytes
#define BATCH 64      // frames the kernel passes up at once
#define ENOUGH 3
#define UNABLE 77

// Where the frame holds what the program writes.
#define V4_CHECKSUM 24
#define V4_SOURCE 26
#define V6_SOURCE 22
#define V6_UDP_CHECKSUM 60

struct source { unsigned char address[16]; unsigned short checksum; unsigned char unused[6]; };
struct state { unsigned long long sent, stamps[STAMPS]; };

static void fail(const char *what, int status) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); exit(status); }
static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

// An array map, and its memory.
static int array(unsigned value_size, unsigned entries, void **memory)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = value_size,
				.max_entries = entries, .map_flags = BPF_F_MMAPABLE };
	int fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0) fail("making a BPF map", errno == EPERM ? UNABLE : 1);
	size_t bytes = ((size_t)value_size * entries + 4095) / 4096 * 4096;
	*memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*memory == MAP_FAILED) fail("mapping a BPF map", 1);
	return fd;
}

#define INSN(c, d, s, o, i) (struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOVE_NUMBER(d, n) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, n)
#define ADD(d, s) INSN(BPF_ALU64 | BPF_ADD | BPF_X, d, s, 0, 0)
#define NUMBER(op, d, n) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, n)
#define READ(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define WRITE(size, d, o, s) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define WRITE_NUMBER(size, d, o, n) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, n)
#define JUMP_IF(op, d, n, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, n)
#define JUMP_ABOVE(d, s, o) INSN(BPF_JMP | BPF_JGT | BPF_X, d, s, o, 0)
#define MAP(d, fd) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
// The entry of the map whose index is at the top of the stack, into r0; leaves with XDP_ABORTED without one.
#define LOOK_UP(fd)                                                                                            \
	MAP(1, fd), MOVE(2, 10), NUMBER(BPF_ADD, 2, -4), CALL(BPF_FUNC_map_lookup_elem), JUMP_IF(BPF_JNE, 0, 0, 1), EXIT

static int load(int family, int state, int sources, unsigned mask)
{
	const struct bpf_insn head[] = {
		MOVE(6, 1), // the context
		WRITE_NUMBER(BPF_W, 10, -4, 0),
		LOOK_UP(state),
		MOVE(7, 0),
		READ(BPF_DW, 8, 7, 0), // r8 = sent++
		MOVE(1, 8),
		NUMBER(BPF_ADD, 1, 1),
		WRITE(BPF_DW, 7, 0, 1),
		MOVE(1, 8), // every SEGMENT frames: stamps[r8 / SEGMENT] = now
		NUMBER(BPF_AND, 1, SEGMENT - 1),
		JUMP_IF(BPF_JNE, 1, 0, 8),
		CALL(BPF_FUNC_ktime_get_ns),
		MOVE(1, 8),
		NUMBER(BPF_RSH, 1, SEGMENT_BITS),
		JUMP_IF(BPF_JGE, 1, STAMPS, 4),
		NUMBER(BPF_LSH, 1, 3),
		MOVE(2, 7),
		ADD(2, 1),
		WRITE(BPF_DW, 2, 8, 0),
		NUMBER(BPF_AND, 8, mask), // r0 = &sources[r8 & mask]
		WRITE(BPF_W, 10, -4, 8),
		LOOK_UP(sources),
		READ(BPF_W, 2, 6, offsetof(struct xdp_md, data)),
		READ(BPF_W, 3, 6, offsetof(struct xdp_md, data_end)),
		MOVE(4, 2),
		NUMBER(BPF_ADD, 4, FRAME),
		JUMP_ABOVE(4, 3, family == 4 ? 6 : 8),
	};
	const struct bpf_insn v4[] = {
		READ(BPF_W, 1, 0, 0),
		WRITE(BPF_W, 2, V4_SOURCE, 1),
		READ(BPF_H, 1, 0, offsetof(struct source, checksum)),
		WRITE(BPF_H, 2, V4_CHECKSUM, 1),
	};
	const struct bpf_insn v6[] = {
		READ(BPF_DW, 1, 0, 0),
		WRITE(BPF_DW, 2, V6_SOURCE, 1),
		READ(BPF_DW, 1, 0, 8),
		WRITE(BPF_DW, 2, V6_SOURCE + 8, 1),
		READ(BPF_H, 1, 0, offsetof(struct source, checksum)),
		WRITE(BPF_H, 2, V6_UDP_CHECKSUM, 1),
	};
	const struct bpf_insn tail[] = { MOVE_NUMBER(0, XDP_PASS), EXIT, MOVE_NUMBER(0, XDP_ABORTED), EXIT };
	unsigned char program[sizeof head + sizeof v6 + sizeof tail];
	size_t middle = family == 4 ? sizeof v4 : sizeof v6;
	memcpy(program, head, sizeof head);
	memcpy(program + sizeof head, family == 4 ? v4 : v6, middle);
	memcpy(program + sizeof head + middle, tail, sizeof tail);

	static char log[1 << 16];
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_XDP, .insns = (size_t)program,
				.insn_cnt = (sizeof head + middle + sizeof tail) / sizeof(struct bpf_insn),
				.license = (size_t)"GPL", .log_buf = (size_t)log, .log_size = sizeof log, .log_level = 1 };
	int fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0) { int error = errno; fputs(log, stderr); errno = error; fail("loading the program", error == EPERM ? UNABLE : 1); }
	return fd;
}

static unsigned sum(const unsigned char *bytes, size_t length)
{
	unsigned total = 0;
	for (size_t at = 0; at < length; at += 2) total += bytes[at] << 8 | bytes[at + 1];
	return total;
}

static unsigned short checksum(unsigned total)
{
	while (total >> 16) total = (total & 0xffff) + (total >> 16);
	unsigned short done = ~total;
	return htons(done ? done : 0xffff);
}

// A UDP datagram to port 9999, from port 40000.
static void template(int family, const unsigned char *mac, const char *to, unsigned char *frame)
{
	memset(frame, 0, FRAME);
	memcpy(frame, mac, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x02", 6);
	unsigned char *ip = frame + 14, *udp = family == 4 ? ip + 20 : ip + 40;
	unsigned short length = FRAME - (udp - frame);
	if (family == 4) {
		memcpy(frame + 12, "\x08\0", 2);
		memcpy(ip, "\x45\0\0", 4);
		ip[3] = FRAME - 14, ip[8] = 64, ip[9] = 17;
		inet_pton(AF_INET, to, ip + 16);
	} else {
		memcpy(frame + 12, "\x86\xdd", 2);
		ip[0] = 0x60, ip[5] = length, ip[6] = 17, ip[7] = 64;
		inet_pton(AF_INET6, to, ip + 24);
	}
	memcpy(udp, (unsigned char[]){ 40000 >> 8, 40000 & 255, 9999 >> 8, 9999 & 255, 0, length }, 6);
}

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET)) fail(netns, 1);
	close(fd);
}

static void address_of(const char *interface, unsigned char *mac)
{
	struct ifreq request = { 0 };
	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request)) fail(interface, 1);
	close(fd);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
}

int main(int argc, char **argv)
{
	if (argc < 8) { fprintf(stderr, "usage: frames FAMILY SOURCES COUNT RUNS INTERFACE TO NETNS...\n"); return 2; }
	int family = atoi(argv[1]), runs = atoi(argv[4]), spaces = argc - 7;
	unsigned count = atoi(argv[3]);
	const char *interface = argv[5], *to = argv[6];
	if (count > SEGMENT * STAMPS) { fprintf(stderr, "at most %d frames a run\n", SEGMENT * STAMPS); return 2; }

	unsigned char frame[FRAME], mac[6] = { 0 };
	template(family, mac, to, frame);
	int file = open(argv[2], O_RDONLY | O_CLOEXEC);
	struct stat about;
	if (file < 0 || fstat(file, &about)) fail(argv[2], 1);
	unsigned number = about.st_size / 16;
	struct source *sources;
	struct state *state;
	int sources_map = array(sizeof *sources, number, (void **)&sources);
	int state_map = array(sizeof *state, 1, (void **)&state);
	unsigned char *ip = frame + 14, *udp = ip + 40;
	// IPv4: the header; IPv6: the datagram and its pseudo-header (the length counts twice).
	unsigned fixed = family == 4 ? sum(ip, 20) : sum(ip + 24, 16) + sum(udp, udp[5]) + udp[5] + 17;
	for (unsigned n = 0; n < number; n++) {
		if (read(file, sources[n].address, 16) != 16) fail("reading the sources", 1);
		sources[n].checksum = checksum(fixed + sum(sources[n].address, family == 4 ? 4 : 16));
	}
	int program = load(family, state_map, sources_map, number - 1);

	time_t start = time(0);
	int run = 0;
	for (; run < runs && (run < 2 || time(0) - start < ENOUGH); run++)
		for (int space = 0; space < spaces; space++) {
			enter(argv[7 + space]);
			address_of(interface, frame);
			struct xdp_md context = { .data_end = FRAME, .ingress_ifindex = if_nametoindex(interface) };
			union bpf_attr attr = { .test = { .prog_fd = program, .repeat = count, .batch_size = BATCH,
				.data_in = (size_t)frame, .data_size_in = FRAME, .ctx_in = (size_t)&context,
				.ctx_size_in = sizeof context, .flags = BPF_F_TEST_XDP_LIVE_FRAMES } };
			memset(state, 0, sizeof *state);
			if (bpf(BPF_PROG_TEST_RUN, &attr))
				fail("sending live frames", errno == EPERM || errno == EINVAL ? UNABLE : 1);
			for (unsigned at = 1; at < (count - 1) / SEGMENT; at++)
				printf("%d %.1f\n", space, (state->stamps[at + 1] - state->stamps[at]) / (double)SEGMENT);
		}
	printf("sent %llu\n", (unsigned long long)run * count);
	return 0;
}
