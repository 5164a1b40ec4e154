import Synchronization

/// One call of an operator, or of a computation that is recorded as one.
public struct TracedCall {
  /// As libtorch names it, such as `aten::convolution`, without the overload.
  public let name: String
  /// In the order of the schema.
  public let arguments: [OperatorArgument]
  /// nil for a result that is no tensor.
  public let results: [Tensor?]
  /// What a computation that is no operator of libtorch says of itself.
  package let detail: (any Sendable)?
}

/// The operators that a computation calls, in order.
///
/// The calls hold their tensors, so that these can be told apart while the calls are kept; an operator that works in place
/// returns the tensor that it was given. Computations with several ways of doing the same take the plainest while they are
/// recorded: ask ``isRecording`` in those of your own.
public final class OperatorTrace: @unchecked Sendable {
  // The task-local value is looked up only while somebody records: an operator call is not to pay for it.
  private static let recordings = Atomic<Int>(0)
  @TaskLocal private static var current: OperatorTrace?

  private var calls: [TracedCall] = []

  private init() {}

  /// Whether operators that are called here and now are recorded.
  public static var isRecording: Bool { running != nil }

  private static var running: OperatorTrace? { recordings.load(ordering: .relaxed) == 0 ? nil : current }

  /// Runs the body and records the operators that it calls on this thread, and where it reads elements of a tensor, as a
  /// call of ``read``.
  public static func record<Result>(_ body: () throws -> Result) rethrows -> (result: Result, calls: [TracedCall]) {
    let trace = OperatorTrace()
    recordings.add(1, ordering: .relaxed)
    defer { recordings.subtract(1, ordering: .relaxed) }
    let result = try $current.withValue(trace, operation: body)
    return (result, trace.calls)
  }

  /// The name under which reading a tensor's elements is recorded.
  public static let read = "norma::read"

  /// Records a computation as one call; what it calls is not recorded.
  package static func asOneCall(
    _ name: String, _ arguments: [OperatorArgument], detail: (any Sendable)? = nil, _ body: () throws -> [Tensor]
  ) rethrows -> [Tensor] {
    guard let trace = running else { return try body() }
    let results = try $current.withValue(nil, operation: body)
    trace.calls.append(TracedCall(name: name, arguments: arguments, results: results, detail: detail))
    return results
  }

  /// Adds a call where somebody records.
  static func add(_ name: String, _ arguments: @autoclosure () -> [OperatorArgument], _ results: () -> [Tensor?]) {
    guard let trace = running else { return }
    trace.calls.append(TracedCall(name: name, arguments: arguments(), results: results(), detail: nil))
  }
}
