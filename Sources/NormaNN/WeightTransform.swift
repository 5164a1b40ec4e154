import NormaTensor

/// Something that is done to a layer's weight before the layer uses it: weight normalization and its relatives.
public protocol WeightTransform: Module {
  /// - Parameter weight: [out, …], the layer's parameter.
  func callAsFunction(_ weight: Tensor) throws -> Tensor
}
