import NormaData
import NormaExperiment
import NormaModels
import NormaNormalization

extension Comparison {
  /// Scores of micro-expressions from optical flow by the three-stream network.
  func meanSpot(_ setting: Setting) throws -> Prepared<ImageWorkload> {
    func options(_ cell: Grid.Cell) throws -> MeanSpotter.Options {
      var options = MeanSpotter.Options()
      options.normalization = cell.normalization
      options.dropout = network.dropout ?? options.dropout
      options.attention = MeanSpotter.Attention(rawValue: cell.variant) ?? .none
      return options
    }
    let augment = training.augment ?? .none
    return try images(
      data.loadFlow(isRepeated: setting.isRepeated, earlier: setting.earlier), setting,
      augmentation: augment.ofWholeImages(shift: 2, for: model),
      ImageModel(
        network: { try MeanSpotter(options($0), generator: $1.weights, dropoutGenerator: $1.dropout) },
        check: { try options($0).validate() },
        metadata: { ($0 as? MeanSpotter)?.options.metadata ?? [:] },
        configuration: [
          "dropout": "\(network.dropout ?? MeanSpotter.Options().dropout)",
          "attention": network.attentions.map(\.rawValue).joined(separator: ","),
        ]))
  }
}
