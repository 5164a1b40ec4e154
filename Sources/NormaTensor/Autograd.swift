import CTorch

/// Runs the body without recording operations for differentiation. Recording is a property of the
/// thread, hence no `await` inside.
public func withoutGradients<Result>(_ body: () throws -> Result) rethrows -> Result {
  try withGradients(enabled: false, body)
}

/// Runs the body with recording of operations for differentiation switched on or off.
public func withGradients<Result>(enabled: Bool, _ body: () throws -> Result) rethrows -> Result {
  let before = ct_grad_mode()
  guard before != enabled else { return try body() }
  ct_set_grad_mode(enabled)
  defer { ct_set_grad_mode(before) }
  return try body()
}

/// Whether operations are recorded for differentiation on this thread now.
public var gradientsAreRecorded: Bool { ct_grad_mode() }

extension Tensor {
  /// Whether operations on this tensor are recorded for differentiation.
  public var requiresGradient: Bool { withExtendedLifetime(box) { ct_tensor_requires_grad(handle) } }

  /// Marks this tensor as one whose gradient is wanted (or not), and returns it.
  @discardableResult
  public func requiringGradient(_ value: Bool = true) throws -> Tensor {
    let result = withExtendedLifetime(box) { ct_tensor_set_requires_grad(handle, value) }
    guard result >= 0 else { throw TensorError.last("requiringGradient") }
    return self
  }

  /// The gradient that backward passes have accumulated, or nil.
  public var gradient: Tensor? {
    withExtendedLifetime(box) { ct_tensor_grad(handle).map(Tensor.init(owning:)) }
  }

  public func setGradient(_ gradient: Tensor?) throws {
    let result = withExtendedLifetime((box, gradient)) { ct_tensor_set_grad(handle, gradient?.handle) }
    guard result >= 0 else { throw TensorError.last("setGradient") }
  }

  /// Has the body called whenever a backward pass has accumulated a gradient in this leaf of the record, on the thread that does;
  /// nil calls nothing any more. There is one at a time.
  public func onGradient(_ body: (() throws -> Void)?) throws {
    let context = body.map { Unmanaged.passRetained(GradientHook($0)).toOpaque() }
    let result = withExtendedLifetime(box) {
      ct_tensor_set_gradient_hook(
        handle,
        body == nil
          ? nil
          : { context in
            do {
              try Unmanaged<GradientHook>.fromOpaque(context!).takeUnretainedValue().body()
              return nil
            } catch { return Unmanaged.passRetained(ThrownError(error)).toOpaque() }
          }, context, { Unmanaged<AnyObject>.fromOpaque($0!).release() })
    }
    guard result >= 0 else { throw TensorError.last("onGradient") }
  }

  private final class GradientHook {
    let body: () throws -> Void
    init(_ body: @escaping () throws -> Void) { self.body = body }
  }

  /// The same data, cut off from the record.
  public func detached() throws -> Tensor { try Op.detach(.tensor(self)) }

  /// Accumulates the gradients of this tensor in the leaves of its record.
  /// - Parameters:
  ///   - gradient: the cotangent, of this tensor's shape; nil stands for 1 when there is one element.
  ///   - keepGraph: keep what a second backward pass needs.
  ///   - createGraph: record the backward pass too, for higher derivatives.
  public func backward(_ gradient: Tensor? = nil, keepGraph: Bool = false, createGraph: Bool = false) throws {
    let result = withExtendedLifetime((box, gradient)) {
      var root: CTTensor? = handle
      var cotangent: CTTensor? = gradient?.handle
      return ct_backward(&root, &cotangent, 1, keepGraph || createGraph, createGraph)
    }
    guard result >= 0 else { throw TensorError.last("backward") }
  }

  /// The gradients of this tensor with respect to the given ones, without touching ``gradient``;
  /// nil for a tensor that it does not depend on.
  public func gradients(
    of inputs: [Tensor], cotangent: Tensor? = nil, keepGraph: Bool = false, createGraph: Bool = false
  ) throws -> [Tensor?] {
    var results = [CTTensor?](repeating: nil, count: inputs.count)
    let status = withExtendedLifetime((box, cotangent, inputs)) {
      var root: CTTensor? = handle
      var seed: CTTensor? = cotangent?.handle
      let handles = inputs.map { Optional($0.handle) }
      return ct_grad(
        &root, &seed, 1, handles, Int32(handles.count), keepGraph || createGraph, createGraph, &results)
    }
    guard status >= 0 else { throw TensorError.last("gradients(of:)") }
    return results.map { $0.map(Tensor.init(owning:)) }
  }
}

extension Op {
  static let detach = Operator("aten::detach")
}
