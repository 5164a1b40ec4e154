import ArgumentParser
import NormaModels
import NormaNN
import NormaNormalization
import NormaReport
import NormaTensor
import Synchronization

struct DescribeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe", abstract: "List the layers of a network with shapes and parameter counts.")

  enum Network: String, ExpressibleByArgument, CaseIterable { case unet }

  @Argument(help: "The network: unet.")
  var network: Network

  @Option(
    help: NormHelp.one(default: "batch"),
    transform: { try Normalization(parsing: $0) })
  var norm: Normalization = .batch

  @OptionGroup(title: "Network") var options: NetworkOptions

  @Option(
    help: ArgumentHelp(
      "Every extent of the input. (default: 512 or the next that the network takes, of volumes the smallest)",
      valueName: "pixels"))
  var size: Int?

  @Flag(
    help: """
      The switchable network as the seed experiment logged it: a group normalization before the switchable one of the \
      second bottom convolution, none after the last up-convolution.
      """)
  var asLogged = false

  func validate() throws {
    let network = options.options(norm, asLogged: asLogged)
    if let size, network.outputExtent(of: size) == nil {
      throw ValidationError("The network takes a --size \(network.extentsInWords), got \(size).")
    }
    if asLogged, norm != .switchable {
      throw ValidationError("--as-logged is the logged switchable network; use it with --norm switchable.")
    }
  }

  /// One layer call.
  private struct Row {
    let layer: ObjectIdentifier
    let kind: String
    let shape: [Int]
    let parameters: Int
  }

  func run() throws {
    try Runtime.check()
    let options = options.options(norm, asLogged: asLogged)
    let model = try UNet(options, generator: Generator(seed: 0))
    model.evaluate()
    let extent = size ?? options.inputExtent(forOutput: options.dimensions == 2 ? 512 - 2 * options.margin : 1)
    let rows = Mutex<[Row]>([])
    // Shapes come from a real pass, so that this table cannot disagree with the network.
    _ = try withoutGradients {
      try LayerObserver.observe { layer, _, output in
        // Only layers that have no layers of their own.
        guard layer.namedModules().count == 1 else { return }
        rows.withLock {
          $0.append(
            Row(
              layer: ObjectIdentifier(layer), kind: "\(type(of: layer))", shape: output.shape,
              parameters: layer.totalCount))
        }
      } _: {
        try model(Tensor.zeros([1, 1] + Array(repeating: extent, count: options.dimensions)))
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
