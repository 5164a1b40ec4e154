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
    // Who started this process may have had them blocked.
    var all = sigset_t()
    sigemptyset(&all)
    for number in watched { sigaddset(&all, number) }
    pthread_sigmask(SIG_UNBLOCK, &all, nil)
    for number in watched {
      let before = Self.handle(number) { number in
        let code = errno
        Interruption.signalNumber.store(number, ordering: .relaxed)
        for number in Interruption.watched { _ = Interruption.handle(number, SIG_DFL) }
        let note: StaticString = "\nEnding after this step; a second signal ends at once.\n"
        if Interruption.tells.load(ordering: .relaxed) { _ = write(2, note.utf8Start, note.utf8CodeUnitCount) }
        errno = code
      }
      // What nohup or a shell in the background has switched off stays off.
      if unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) { _ = handle(number, SIG_IGN) }
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
