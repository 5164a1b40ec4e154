#define _GNU_SOURCE
#include "HostsSupport.h"
#ifdef __linux__
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_address(struct ifreq *request, const char *address) {
  struct sockaddr_in value = {.sin_family = AF_INET};
  inet_pton(AF_INET, address, &value.sin_addr);
  memcpy(&request->ifr_addr, &value, sizeof value);
}

/// The interface goes up last, which makes the route.
static int configure(const char *interface, const char *address, int mtu) {
  int request_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (request_socket < 0) return -1;
  struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
  strcpy(request.ifr_name, "lo");
  int result = ioctl(request_socket, SIOCSIFFLAGS, &request);
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  set_address(&request, address);
  if (result == 0) result = ioctl(request_socket, SIOCSIFADDR, &request);
  set_address(&request, "255.255.255.0");
  if (result == 0) result = ioctl(request_socket, SIOCSIFNETMASK, &request);
  request.ifr_mtu = mtu;
  if (result == 0) result = ioctl(request_socket, SIOCSIFMTU, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (result == 0) result = ioctl(request_socket, SIOCSIFFLAGS, &request);
  int error = errno;
  close(request_socket);
  errno = error;
  return result;
}

int norma_hosts_open(const char *interface, const char *address, int mtu, int *space, const char **step) {
  *step = "make a network namespace";
  if (unshare(CLONE_NEWNET) != 0) return -1;
  *space = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (*space < 0) return -1;
  *step = "open /dev/net/tun";
  int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (device < 0) return -1;
  *step = "make a TUN device";
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  if (ioctl(device, TUNSETIFF, &request) != 0) return -1;
  *step = "configure a TUN device";
  return configure(interface, address, mtu) == 0 ? device : -1;
}

/// The first process of a host: has to take over the others that lose their parent.
static _Noreturn void lead(char *const arguments[], char *const environment[], const sigset_t *signals) {
  // Other mounts stay those of the machine.
  if (mount("", "/", "", MS_REC | MS_PRIVATE, "") != 0 || mount("proc", "/proc", "proc", 0, "") != 0) {
    dprintf(STDERR_FILENO, "cannot mount /proc: %s\n", strerror(errno));
    _exit(126);
  }
  pid_t command = fork();
  if (command == 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(arguments[0], arguments, environment);
    dprintf(STDERR_FILENO, "cannot run '%s': %s\n", arguments[0], strerror(errno));
    _exit(127);
  }
  if (command < 0) _exit(126);
  for (;;) {
    int signal, status;
    if (sigwait(signals, &signal) != 0) continue;
    if (signal != SIGCHLD) {
      kill(command, signal);
      continue;
    }
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;)
      if (ended == command) _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  }
}

pid_t norma_hosts_start(
    int space, char *const arguments[], char *const environment[], int output, int errors, const sigset_t *signals) {
  if (setns(space, CLONE_NEWNET) != 0) return -1;
  // Unlike fork after unshare, leaves the caller able to start threads.
  pid_t leader = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
  if (leader != 0) return leader;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // Out of the terminal's foreground: its signals come once, by way of the caller.
  setpgid(0, 0);
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(errors, STDERR_FILENO);
  syscall(SYS_close_range, 3, ~0U, 0);
  // Where the caller ended before it was to be noticed, nobody reads.
  struct pollfd readers = {.fd = STDOUT_FILENO};
  if (poll(&readers, 1, 0) > 0 && (readers.revents & POLLERR)) _exit(126);
  lead(arguments, environment, signals);
}

void norma_hosts_wait(int descriptor, const struct timespec *timeout) {
  struct pollfd readable = {.fd = descriptor, .events = POLLIN};
  ppoll(&readable, 1, timeout, NULL);
}

void norma_hosts_wait_precisely(void) { prctl(PR_SET_TIMERSLACK, 1UL); }
#endif
