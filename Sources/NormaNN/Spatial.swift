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

/// Means over windows chosen so that the output has the given extents: [N, C, spatial…] → [N, C, extents…], for inputs of any
/// extents. Window i of k along an extent of n goes from ⌊i n / k⌋ to ⌈(i + 1) n / k⌉, as in PyTorch.
public final class AdaptiveAveragePool: Module, Layer {
  public let extents: [Int]
  public init(extents: [Int]) { self.extents = extents }

  public func forward(_ input: Tensor) throws -> Tensor {
    Array(input.shape.dropFirst(2)) == extents ? input : try input.adaptiveAveragePooled(extents)
  }
}

/// The mean of every plane: [N, C, spatial…] → [N, C].
public final class GlobalAveragePool: Module, Layer {
  public func forward(_ input: Tensor) throws -> Tensor {
    guard input.rank >= 3, input.count > 0 else {
      throw TensorError(operation: "GlobalAveragePool", message: "[N, C, spatial…] was expected, got \(input.shape)")
    }
    return try input.mean(Array(2..<input.rank))
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
