#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif
import Synchronization

/// The user's or the system's wish that a run end: Ctrl-C (SIGINT) or SIGTERM.
enum Interruption {
  private static let signalNumber = Atomic<Int32>(0)

  /// The signal that came, or nil.
  static var signal: Int32? {
    let number = signalNumber.load(ordering: .relaxed)
    return number == 0 ? nil : number
  }

  /// From now on the first signal only sets ``signal``; the second one ends the process as usual.
  static func watch() {
    // Made before a signal can come: a handler may not.
    _ = signal
    // A file that is not allowed to grow is an error like a full disk, not the end of the process.
    _ = handle(SIGXFSZ, SIG_IGN)
    // Who started this process may have had them blocked.
    var both = sigset_t()
    sigemptyset(&both)
    for number in [SIGINT, SIGTERM] { sigaddset(&both, number) }
    pthread_sigmask(SIG_UNBLOCK, &both, nil)
    for number in [SIGINT, SIGTERM] {
      _ = Self.handle(number) { number in
        Interruption.signalNumber.store(number, ordering: .relaxed)
        _ = Interruption.handle(number, SIG_DFL)
        let note: StaticString = "\nEnding after this step; a second signal ends at once.\n"
        _ = write(2, note.utf8Start, note.utf8CodeUnitCount)
      }
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
