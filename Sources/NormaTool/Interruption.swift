#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
import Synchronization

/// The user's or the system's wish that a run end: Ctrl-C (SIGINT), SIGTERM or a terminal that went away (SIGHUP).
enum Interruption {
  private static let signalNumber = Atomic<Int32>(0)

  /// The signal that came, or nil.
  static var signal: Int32? {
    let number = signalNumber.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }

  private static let watched = [SIGINT, SIGTERM, SIGHUP]

  private static let tells = Atomic<Bool>(true)

  /// From now on the first signal only sets ``signal``; the next one ends the process as usual.
  /// - Parameter isTelling: whether the handler writes that it was called.
  static func watch(isTelling: Bool = true) {
    tells.store(isTelling, ordering: .relaxed)
    // Made before a signal can come: a handler may not.
    _ = (signal, watched)
    // A file that is not allowed to grow is an error like a full disk, and a reader of the output that has gone away is none:
    // neither is to end the process before the checkpoint is written.
    for number in [SIGXFSZ, SIGPIPE] { _ = handle(number, SIG_IGN) }
    unblock(watched)
    for number in watched {
      keepIgnored(number) { number in
        let code = errno
        Interruption.signalNumber.store(number, ordering: .relaxed)
        for number in Interruption.watched { _ = Interruption.handle(number, SIG_DFL) }
        let note: StaticString = "\nEnding after this step; a second signal ends at once.\n"
        if Interruption.tells.load(ordering: .relaxed) { _ = write(2, note.utf8Start, note.utf8CodeUnitCount) }
        errno = code
      }
    }
  }

  private static let bell = Atomic<Int32>(-1)

  /// From now on such signals, and others, are bytes that can be read, whichever thread they come to: where they are blocked and waited for, one that comes
  /// while nobody waits goes to a thread of a library that has not blocked it, and is lost.
  static func listen(besides others: [Int32]) throws -> Int32 {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ToolError("no signals can be waited for: \(String(cString: strerror(errno)))") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    bell.store(ends[1], ordering: .relaxed)
    let numbers = watched + others
    unblock(numbers)
    for number in numbers {
      keepIgnored(number) { number in
        let code = errno
        var byte = UInt8(number)
        _ = write(Interruption.bell.load(ordering: .relaxed), &byte, 1)
        errno = code
      }
    }
    return ends[0]
  }

  /// Who started this process may have had them blocked.
  private static func unblock(_ numbers: [Int32]) {
    var all = sigset_t()
    sigemptyset(&all)
    for number in numbers { sigaddset(&all, number) }
    pthread_sigmask(SIG_UNBLOCK, &all, nil)
  }

  /// What nohup or a shell in the background has switched off stays off.
  private static func keepIgnored(_ number: Int32, _ handler: @escaping sig_t) {
    let before = handle(number, handler)
    if number != SIGCHLD, unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) {
      _ = handle(number, SIG_IGN)
    }
  }

  private static func handle(_ number: Int32, _ handler: sig_t?) -> sig_t? {
    #if canImport(Glibc)
      Glibc.signal(number, handler)
    #elseif canImport(Musl)
      Musl.signal(number, handler)
    #else
      Darwin.signal(number, handler)
    #endif
  }
}
