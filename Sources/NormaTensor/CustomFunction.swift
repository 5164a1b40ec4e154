import CTorch

/// What a custom function's backward is given.
public struct BackwardPass {
  /// The gradient with respect to every output; nil where none flows.
  public let gradients: [Tensor?]
  /// The tensors that forward saved.
  public let saved: [Tensor]
  /// Which inputs need a gradient.
  public let needed: [Bool]
}

/// A differentiable function whose forward and backward are written in Swift.
///
/// ```swift
/// let y = try CustomFunction.apply("square", inputs: [x]) {
///   (outputs: [try x * x], saved: [x], backward: { pass in [try pass.gradients[0]! * pass.saved[0] * 2] })
/// }[0]
/// ```
public enum CustomFunction {
  /// Gradients for every input, in order; nil for none. Called once per backward pass, on the
  /// calling thread on the CPU and on the engine's thread for other devices.
  public typealias Backward = (BackwardPass) throws -> [Tensor?]

  /// Runs `forward` without recording and records its outputs as one function of the inputs.
  ///
  /// - Parameters:
  ///   - name: shown in error messages.
  ///   - inputs: every tensor that a gradient may flow to.
  ///   - isTwiceDifferentiable: false when backward computes with numbers that it keeps outside `saved`, so that
  ///     its own gradient would be wrong; a backward pass that creates a graph is then an error.
  ///   - forward: returns the outputs (fresh tensors, not views), the tensors that backward needs
  ///     (kept alive until the graph goes, and checked against in-place changes) and the backward, which must not
  ///     capture an output: the output's record holds the backward.
  public static func apply(
    _ name: String, inputs: [Tensor], isTwiceDifferentiable: Bool = true,
    forward: () throws -> (outputs: [Tensor], saved: [Tensor], backward: Backward)
  ) throws -> [Tensor] {
    let (outputs, saved, backward) = try withoutGradients(forward)
    guard ct_grad_mode(), inputs.contains(where: \.requiresGradient) else { return outputs }
    let context = Unmanaged.passRetained(
      Context(name: name, isTwiceDifferentiable: isTwiceDifferentiable, backward: backward))
    let status = withExtendedLifetime((inputs, outputs, saved)) {
      ct_record_function(
        name, inputs.map { $0.handle }, Int32(inputs.count), outputs.map { $0.handle }, Int32(outputs.count),
        saved.map { $0.handle }, Int32(saved.count), callBackward, context.toOpaque(),
        { Unmanaged<AnyObject>.fromOpaque($0!).release() })
    }
    guard status >= 0 else { throw TensorError.last(name) }
    return outputs
  }

  fileprivate final class Context {
    let name: String
    let isTwiceDifferentiable: Bool
    let backward: Backward
    init(name: String, isTwiceDifferentiable: Bool, backward: @escaping Backward) {
      self.name = name
      self.isTwiceDifferentiable = isTwiceDifferentiable
      self.backward = backward
    }
  }
}

/// The C side of ``CustomFunction/Backward``: borrowed handles in, owned handles out.
private func callBackward(
  context: UnsafeMutableRawPointer?, gradients: UnsafePointer<CTTensor?>?, gradientCount: Int32,
  saved: UnsafePointer<CTTensor?>?, savedCount: Int32, needed: UnsafePointer<Bool>?,
  results: UnsafeMutablePointer<CTTensor?>?, resultCount: Int32
) -> UnsafeMutableRawPointer? {
  let function = Unmanaged<CustomFunction.Context>.fromOpaque(context!).takeUnretainedValue()
  let pass = BackwardPass(
    gradients: (0..<Int(gradientCount)).map { gradients![$0].map(Tensor.init(retaining:)) },
    saved: (0..<Int(savedCount)).map { Tensor(retaining: saved![$0]!) },
    needed: (0..<Int(resultCount)).map { needed![$0] })
  do {
    guard function.isTwiceDifferentiable || !ct_grad_mode() else {
      throw TensorError(
        operation: function.name,
        message: "second derivatives are not available; run the backward pass without createGraph")
    }
    let output = try function.backward(pass)
    guard output.count == Int(resultCount) else {
      throw TensorError(
        operation: function.name,
        message: "backward returned \(output.count) gradients for \(resultCount) inputs")
    }
    for (index, tensor) in output.enumerated() where pass.needed[index] {
      results![index] = tensor.map { ct_tensor_retain($0.handle) } ?? nil
    }
    return nil
  } catch {
    return Unmanaged.passRetained(ThrownError(error)).toOpaque()
  }
}

extension Tensor {
  /// Takes a further reference to a borrowed handle.
  fileprivate init(retaining handle: CTTensor) {
    self.init(owning: ct_tensor_retain(handle))
  }
}
