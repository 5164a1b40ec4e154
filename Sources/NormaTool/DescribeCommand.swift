import ArgumentParser
import NormaData
import NormaModels
import NormaNN
import NormaNormalization
import NormaReport
import NormaTensor
import Synchronization

struct DescribeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe", abstract: "List the layers of a network with shapes and parameter counts.")

  @Argument(help: ModelName.help)
  var network: ModelName

  @Option(
    help: NormHelp.one(default: ModelName.defaultsTold { $0.norms[0].name }), completion: NormHelp.names,
    transform: { try Normalization(parsing: $0) })
  var norm: Normalization?

  @OptionGroup(title: "Network") var options: NetworkOptions

  @Option(
    help: ArgumentHelp(
      """
      Every extent of the input. (default: \(DataOptions.defaultImageSize) for alexnet, 28 for mnist-dense and mnist-lstm; for unet \
      512 or the next that the network takes, of volumes the smallest)
      """, valueName: "pixels"))
  var size: Int?

  @Option(
    help: ArgumentHelp(
      "Channels of the input. (default: 3 for alexnet, 1 for unet and mnist-dense)", valueName: "count"))
  var channels: Int?

  @Option(
    help: ArgumentHelp(
      "Classes to tell. (default: those of the built-in data: 2 for unet, \(SyntheticShapes.names.count) for alexnet, 10 for "
        + "mnist-dense and mnist-lstm)", valueName: "count"))
  var classes: Int?

  @Flag(
    help: """
      The switchable network as the seed experiment logged it: a group normalization before the switchable one of the \
      second bottom convolution, none after the last up-convolution.
      """)
  var asLogged = false

  private var usedNorm: Normalization { norm ?? network.norms[0] }

  func validate() throws {
    let given = [
      ("size", size != nil), ("channels", channels != nil), ("classes", classes != nil), ("as-logged", asLogged),
    ].filter(\.1).map(\.0)
    try network.check(given: options.given + given)
    for (name, value, range) in [
      ("size", size, 1...65_536), ("channels", channels, 1...4096), ("classes", classes, 2...65_536),
    ] {
      if let value, !range.contains(value) {
        throw ValidationError("--\(name) must be in \(range.lowerBound)…\(range.upperBound), got \(value).")
      }
    }
    try options.checkOneAttention()
    if network == .unet, let size, unet.outputExtent(of: size) == nil {
      throw ValidationError("The network takes a --size \(unet.extentsInWords), got \(size).")
    }
    if asLogged, usedNorm != .switchable {
      throw ValidationError("--as-logged is the logged switchable network; use it with --norm switchable.")
    }
  }

  private var unet: UNet.Options {
    options.options(usedNorm, inputChannels: channels ?? 1, classes: classes ?? 2, asLogged: asLogged)
  }

  /// The network with the shape of one input.
  private func made() throws -> (network: any Layer, input: [Int]) {
    let generator = try Generator(seed: 0)
    func images(_ channels: Int, _ side: Int, _ classes: Int) -> ImageShape {
      let side = size ?? side
      return ImageShape(
        channels: self.channels ?? channels, height: side, width: side, classes: self.classes ?? classes)
    }
    func input(_ images: ImageShape) -> [Int] { [1, images.channels, images.height, images.width] }
    switch network {
    case .unet:
      let options = unet
      let extent = size ?? options.inputExtent(forOutput: options.dimensions == 2 ? 512 - 2 * options.margin : 1)
      let extents = Array(repeating: extent, count: options.dimensions)
      return (try UNet(options, generator: generator), [1, options.inputChannels] + extents)
    case .alexnet:
      let images = images(3, DataOptions.defaultImageSize, SyntheticShapes.names.count)
      return (try AlexNet(options.alexnet(usedNorm, images), generator: generator), input(images))
    case .meanSpot:
      return (
        try MeanSpotter(options.meanSpot(usedNorm, options.attentions[0]), generator: generator),
        [1, 3, MeanSpotter.side, MeanSpotter.side]
      )
    case .mnistDense:
      let images = images(1, SyntheticDigits.side, 10)
      return (try MNISTDense(options.mnistDense(usedNorm, images), generator: generator), input(images))
    case .mnistLSTM:
      let images = images(1, SyntheticDigits.side, 10)
      return (try MNISTLSTM(options.mnistLSTM(usedNorm, images), generator: generator), input(images))
    }
  }

  /// One layer call.
  private struct Row: Equatable {
    let layer: ObjectIdentifier
    let kind: String
    let shape: [Int]
    let parameters: Int
  }

  func run() throws {
    try Runtime.check()
    let (model, input) = try made()
    model.evaluate()
    let rows = Mutex<[Row]>([])
    // Shapes come from a real pass, so that this table cannot disagree with the network.
    _ = try withoutGradients {
      try LayerObserver.observe { layer, _, output in
        let row = Row(
          layer: ObjectIdentifier(layer), kind: "\(type(of: layer))", shape: output.shape, parameters: layer.totalCount)
        let parts = Set(layer.namedModules().map { ObjectIdentifier($0.module) }).subtracting([row.layer])
        rows.withLock {
          // Not what consists of layers that are listed, and a layer that is used twice only once.
          guard !$0.contains(where: { parts.contains($0.layer) || $0 == row }) else { return }
          $0.append(row)
        }
      } _: {
        try model(Tensor.zeros(input))
      }
    }
    let names = Dictionary(
      model.namedModules().map { (ObjectIdentifier($0.module), $0.key) }, uniquingKeysWith: { first, _ in first })
    let lines = rows.withLock { rows in
      rows.map { row in
        let shape = "[N, " + row.shape.dropFirst().map(String.init).joined(separator: ", ") + "]"
        return ["\(names[row.layer] ?? "") (\(row.kind))", shape, grouped(row.parameters)]
      }
    }
    let total = model.totalCount
    let trainable = model.trainableCount
    print(textTable(header: ["layer (type)", "output shape", "parameters"], rows: lines))
    print(
      """

      Total parameters: \(grouped(total))
      Trainable parameters: \(grouped(trainable))
      Non-trainable parameters: \(grouped(total - trainable))
      """)
  }
}
