import NormaTensor

/// The windows of a pooling layer; the stride is the window unless given.
public class WindowPool: Module {
  public let kernel: [Int]
  public let stride: [Int]
  public let padding: [Int]

  public init(kernel: [Int], stride: [Int]? = nil, padding: [Int]? = nil) {
    self.kernel = kernel
    self.stride = stride ?? kernel
    self.padding = padding ?? kernel.map { _ in 0 }
  }
}

/// Largest value of every window.
public final class MaxPool: WindowPool, Layer {
  public func forward(_ input: Tensor) throws -> Tensor {
    try input.maxPooledRecomputing(kernel: kernel, stride: stride, padding: padding)
  }
}

/// Mean of every window.
public final class AveragePool: WindowPool, Layer {
  public func forward(_ input: Tensor) throws -> Tensor {
    try input.averagePooled(kernel: kernel, stride: stride, padding: padding)
  }
}

/// Nearest-neighbour enlargement by a whole factor.
public final class Upsample: Module, Layer {
  public let factor: Int
  public init(factor: Int = 2) { self.factor = factor }

  public func forward(_ input: Tensor) throws -> Tensor { try input.upsampledNearest(factor: factor) }
}

/// Merges all dimensions after the first.
public final class Flatten: Module, Layer {
  public func forward(_ input: Tensor) throws -> Tensor { try input.flattened(from: 1) }
}
