// What Swift cannot call (variadic functions, processes made by clone) of what norma-hosts needs of Linux.
#pragma once
#ifdef __linux__
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <time.h>

/// Moves the calling thread into a new network namespace, in which `interface` is a TUN device with the IPv4 `address` of a
/// network of 24 bits.
///
/// Returns the device's file descriptor, which does not block, and sets `space` to that of the namespace; -1 with errno set
/// and `step` naming what was tried where something fails.
int norma_hosts_open(const char *interface, const char *address, int mtu, int *space, const char **step);

/// Starts a command in a network namespace, with process identifiers of its own: when the process that is returned ends, or
/// the calling thread, all that the command has started ends too.
///
/// The process passes the `signals` on, which the caller has to block, and ends with the command's status, 128 + signal where one
/// ended it. Returns -1 with errno set where it cannot be started.
pid_t norma_hosts_start(
    int space, char *const arguments[], char *const environment[], int output, int errors, const sigset_t *signals);

/// Waits until a descriptor can be read, no longer than `timeout` where it is not null.
void norma_hosts_wait(int descriptor, const struct timespec *timeout);

/// Has timed waits of the calling thread, and of those that it starts, end when they should, not 50 microseconds later.
void norma_hosts_wait_precisely(void);
#endif
