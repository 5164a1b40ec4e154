import CTorch

/// Which operators the time goes to.
///
/// ```swift
/// let entries = try Profiler.measure { try loss.backward() }
/// ```
public enum Profiler {
  /// All calls of one operator, backward function or section.
  public struct Entry: Sendable, Equatable {
    /// Such as `aten::convolution`, `ConvolutionBackward0` or the name of a section.
    public let name: String
    public let calls: Int
    /// Without the time of entries inside, so that all entries add up to no more than the time that passed.
    public let selfSeconds: Double
  }

  /// Runs the body and times the operators and backward functions that it calls, on this thread and on those where
  /// the autograd engine works for it. Work of other threads is left out.
  /// - Returns: entries by descending time.
  /// - Throws: what the body throws; ``TensorError`` when a measurement is running already, here or on another thread.
  public static func measure(_ body: () throws -> Void) throws -> [Entry] {
    if let mismatch = Runtime.mismatch { throw TensorError(operation: "Profiler.measure", message: mismatch) }
    guard ct_profile_start() else {
      throw TensorError(operation: "Profiler.measure", message: "another measurement is running; there can be one")
    }
    let result = Result { try body() }
    var entries: UnsafePointer<CTProfileEntry>?
    let count = Int(ct_profile_stop(&entries))
    try result.get()
    return UnsafeBufferPointer(start: entries, count: count).map {
      Entry(name: String(cString: $0.name), calls: Int($0.calls), selfSeconds: Double($0.nanoseconds) / 1e9)
    }
  }

  /// Names work that is no operator, so that it gets an entry of its own. Costs next to nothing while nothing is
  /// measured.
  @inlinable
  public static func section<Result>(_ name: StaticString, _ body: () throws -> Result) rethrows -> Result {
    precondition(name.hasPointerRepresentation)
    let token = ct_profile_enter(UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self))
    defer { ct_profile_leave(token) }
    return try body()
  }
}
