import CTorch

/// What went wrong in the tensor engine.
public struct TensorError: Error, CustomStringConvertible, Sendable {
  /// The operation that failed, such as `aten::convolution`.
  public let operation: String
  public let message: String

  public init(operation: String, message: String) {
    self.operation = operation
    self.message = message
  }

  public var description: String { "\(operation): \(message)" }

  /// The error of the engine call that just failed on this thread: the Swift error that a custom
  /// function threw, or libtorch's message.
  package static func last(_ operation: String) -> any Error {
    if let pointer = ct_take_callback_error() {
      return Unmanaged<ThrownError>.fromOpaque(pointer).takeRetainedValue().error
    }
    return TensorError(operation: operation, message: String(cString: ct_error_message()))
  }
}

/// Carries a Swift error through libtorch's autograd engine.
final class ThrownError {
  let error: any Error
  init(_ error: any Error) { self.error = error }
}
