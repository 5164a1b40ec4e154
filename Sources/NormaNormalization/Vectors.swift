import NormaNN

// Norms where an input is [N, features], a vector per sample without positions.
extension Normalization {
  /// The layer for vectors [N, features], as between fully connected layers; nil for ``none``.
  /// - Throws: ``NormalizationError`` for a norm whose statistics would be taken over one value or need positions, and what
  ///   ``layer(channels:)`` throws.
  public func vectorLayer(features: Int) throws -> (any Layer)? {
    try checked(layer(channels: features), features: features)
  }

  /// The layer for sums and states [N, features] inside a recurrent cell, or for the steps of sequences: one that measures every
  /// sample alone; nil for ``none``.
  /// - Throws: ``NormalizationError`` for a norm with statistics over samples, and where ``vectorLayer(features:)`` would.
  public func cellLayer(features: Int) throws -> (any Layer)? {
    let layer = try checked(linearLayer(channels: features), features: features)
    guard try !layer.partitions.contains(where: \.spansSamples) else {
      throw NormalizationError(
        "'\(name)' cannot stand inside a recurrent cell or between the steps of sequences: statistics over the batch differ "
          + "from step to step, so evaluation would need running ones for every step, and there are none for sequences longer "
          + "than those of the training (Cooijmans et al. 2017); use layer, group or rms")
    }
    return layer
  }

  private func checked(_ layer: (any Layer)?, features: Int) throws -> (any Layer)? {
    let partitions = try layer.partitions
    // Two samples stand for any batch.
    let shape = MomentShape(samples: 2, channels: features, positions: 1)
    if layer is LocalResponseNorm
      || !partitions.isEmpty && partitions.allSatisfy({ $0.valuesPerPart(shape) == 1 })
    {
      throw NormalizationError(
        "'\(name)' cannot normalize vectors of \(features) features: it needs positions, of which a vector has none, or "
          + "several features per statistic; use layer, rms or group with fewer groups")
    }
    return layer
  }
}

extension Optional where Wrapped == any Layer {
  /// What the norm takes statistics over in training.
  fileprivate var partitions: [Partition] {
    get throws {
      switch self {
      case let layer as NormalizationLayer: try layer.partitions
      case let layer as EvoNorm: layer.partitions
      default: []
      }
    }
  }
}
