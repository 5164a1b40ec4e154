import NormaData
import NormaExperiment
import NormaModels
import NormaNormalization

extension NetworkOptions {
  func meanSpot(_ norm: Normalization, _ attention: MeanSpotter.Attention) -> MeanSpotter.Options {
    var options = MeanSpotter.Options()
    options.normalization = norm
    options.dropout = dropout ?? options.dropout
    options.attention = attention
    return options
  }
}

extension Comparison {
  /// Scores of micro-expressions from optical flow by the three-stream network.
  func meanSpot(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    let augment = training.augment ?? .none
    let loaded = try data.loadFlow(
      count: model.defaults.syntheticImages, isRepeated: setting.isRepeated, earlier: setting.earlier)
    let (height, width) = (loaded.shape.height, loaded.shape.width)
    guard height == MeanSpotter.side, width == MeanSpotter.side else {
      throw ToolError(
        "mean-spot takes frames of \(MeanSpotter.side)×\(MeanSpotter.side) pixels, those of '\(loaded.name)' have "
          + "\(height)×\(width); cut or resize them")
    }
    return try images(
      loaded, setting,
      augmentation: augment.ofWholeImages(shift: 2, for: model),
      ImageModel(
        network: { [network] in
          network.meanSpot($0.normalization, MeanSpotter.Attention(rawValue: $0.variant) ?? .none)
        },
        configuration: [
          "dropout": "\(network.dropout ?? MeanSpotter.Options().dropout)",
          "attention": network.attentions.map(\.rawValue).joined(separator: ","),
        ]))
  }
}
