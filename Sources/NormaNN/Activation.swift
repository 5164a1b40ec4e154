import NormaTensor

/// An element-wise activation function.
public enum Activation: Sendable, Equatable {
  case none
  case relu
  case leakyReLU(slope: Double)
  case sigmoid
  case tanh
  case silu
  case gelu

  public func callAsFunction(_ input: Tensor) throws -> Tensor {
    switch self {
    case .none: input
    case .relu: try input.relu()
    case .leakyReLU(let slope): try input.leakyReLU(slope: slope)
    case .sigmoid: try input.sigmoid()
    case .tanh: try input.tanh()
    case .silu: try input.silu()
    case .gelu: try input.gelu()
    }
  }

  /// The same, allowed to write into the input, which the caller needs no more.
  public func consuming(_ input: Tensor) throws -> Tensor {
    self == .relu ? try input.reluInPlace() : try self(input)
  }
}

/// An activation function as a layer.
public final class ActivationLayer: Module, Layer {
  public let activation: Activation
  public init(_ activation: Activation) { self.activation = activation }

  public func forward(_ input: Tensor) throws -> Tensor { try activation(input) }
}
