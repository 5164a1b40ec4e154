import Foundation
import NormaFormats
import NormaRecords
import NormaReport
import TestSupport
import Testing

@Suite struct HistoryJSONLinesTests {
  @Test func oneObjectPerEpoch() throws {
    let text = try HistoryJSONLines.text([epoch(1), epoch(2, loss: .nan, validationLoss: -.infinity, wait: 0.5)])
    let rest = #""validationDice":[0.5,0.625],"validationIntersectionOverUnion":[0.25,0.375]"#
    let scores = (#""scores":{"accuracy":0.75}"#, #""validationScores":{"accuracy":0.875}"#)
    #expect(
      text == """
        {"dataWaitSeconds":0,"epoch":1,"learningRate":0.001,"loss":0.5,\(scores.0),"seconds":10,\
        \(rest),"validationLoss":0.25,\(scores.1),"validationSeconds":1}
        {"dataWaitSeconds":0.5,"epoch":2,"learningRate":0.001,"loss":"nan",\(scores.0),"seconds":10,\
        \(rest),"validationLoss":"-inf",\(scores.1),"validationSeconds":1}

        """)
    #expect(try HistoryJSONLines.text([]).isEmpty)
  }
}

@Suite struct TensorBoardTests {
  /// A value as TensorBoard's pages get it.
  private struct Shown: Decodable, Equatable {
    var step: Int
    var tag: String
    var plugin: String
    var values: [String]
  }

  /// Reads the event file of a folder by TensorBoard's own classes: first as its pages do; then says whether its
  /// encoder makes the same bytes, and which tags `EventAccumulator` lists as scalars.
  private static let reader = """
    import json, os, sys
    from tensorboard.backend.event_processing import event_accumulator, event_file_loader
    from tensorboard.compat.proto import event_pb2
    from tensorboard.util import tensor_util
    folder, = sys.argv[1:]
    name, = os.listdir(folder)
    path = os.path.join(folder, name)
    shown = []
    for event in event_file_loader.EventFileLoader(path).Load():
        for value in event.summary.value:
            values = tensor_util.make_ndarray(value.tensor).ravel().tolist()
            shown.append(dict(
                step=event.step, tag=value.tag, plugin=value.metadata.plugin_data.plugin_name,
                values=[v.hex() if isinstance(v, bytes) else repr(v) for v in values]))
    raw = list(event_file_loader.RawEventFileLoader(path).Load())
    same = all(event_pb2.Event.FromString(r).SerializeToString(deterministic=True) == r for r in raw)
    tags = event_accumulator.EventAccumulator(folder).Reload().Tags()
    print(json.dumps(dict(shown=shown, events=len(raw), same=same, scalars=tags["scalars"], images=tags["images"])))
    """

  private struct Answer: Decodable {
    let shown: [Shown]
    let events: Int
    let same: Bool
    let scalars: [String]
    let images: [String]
  }

  private static let scalars: [Shown] = {
    func scalars(_ step: Int, _ values: KeyValuePairs<String, Float>) -> [Shown] {
      values.map { Shown(step: step, tag: $0, plugin: "scalars", values: ["\(Double($1))"]) }
    }
    return scalars(
      1,
      [
        "train/loss": 0.5, "train/accuracy": 0.75, "validation/loss": 0.25, "validation/accuracy": 0.875,
        "learning_rate": 0.001, "seconds": 10, "validation/dice/0": 0.5, "validation/dice/1": 0.625,
      ])
      + scalars(
        200,
        [
          "train/loss": .nan, "train/accuracy": 0.75, "validation/loss": -.infinity, "validation/accuracy": 0.875,
          "learning_rate": 0.001, "seconds": 0.25, "validation/dice/0": 0.5, "validation/dice/1": 0.625,
          "mix/down.0.norm/mean/instance": 0.25, "mix/down.0.norm/mean/group(4)": 0.75,
          "mix/down.0.norm/variance/instance": 1, "mix/down.0.norm/variance/group(4)": 0,
        ])
  }()

  private func write(to writer: TensorBoardWriter) throws {
    try writer.write(epoch(1))
    try writer.write(epoch(200, loss: .nan, validationLoss: -.infinity, seconds: 0.25))
    let shares = MixRecord(
      layer: "down.0.norm", branches: ["instance", "group(4)"], mean: [0.25, 0.75], variance: [1, 0])
    try writer.write([shares], epoch: 200)
    try writer.write([], epoch: 200)
  }

  @Test func everyNumberIsInTheFile() throws {
    let folder = try TemporaryFolder()
    let writer = try TensorBoardWriter(output: folder.url.path, run: "a")
    try write(to: writer)
    let data = try Data(contentsOf: URL(fileURLWithPath: writer.path))
    var place = 0
    for scalar in Self.scalars {
      let number = try #require(Double(scalar.values[0])).asFloatBytes
      let bytes = Data([0x0A, UInt8(scalar.tag.utf8.count)] + scalar.tag.utf8 + [0x15] + number)
      place = try #require(data.range(of: bytes, in: place..<data.count), "\(scalar)").upperBound
    }
    #expect(place == data.count - 4, "nothing but the check follows")
  }

  @Test(
    .enabled(
      if: Python.imports("tensorboard.backend.event_processing.event_file_loader"),
      "needs a Python with tensorboard: PEERS_PYTHON or python3"))
  func tensorBoardReadsIt() throws {
    let folder = try TemporaryFolder()
    let writer = try TensorBoardWriter(output: folder.url.path, run: "switchable-a+b")
    try write(to: writer)
    let image = try ImageStack(pages: 1, channels: 1, height: 1, width: 2, format: .uint8, values: [0, 255])
    try writer.image("overlay/3", image, step: 200)

    // The writer is still open, as in a training that goes on.
    let answer = try JSONDecoder().decode(
      Answer.self, from: try Python.run(Self.reader, "\(folder.url.path)/tensorboard/switchable-a+b"))
    #expect(answer.shown.dropLast() == Self.scalars[...])
    let last = try #require(answer.shown.last)
    #expect(last.step == 200 && last.tag == "overlay/3" && last.plugin == "images")
    // Width, height, and the PNG file.
    #expect(last.values.prefix(2) == ["32", "31"] && last.values.last?.hasPrefix("89504e470d0a1a0a") == true)
    #expect(answer.events == 5, "the version, two epochs, the mixes and the image, one event each")
    #expect(answer.same)
    #expect(Set(answer.scalars) == Set(Self.scalars.map(\.tag)) && answer.images == ["overlay/3"])
    try writer.close()
  }
}

extension Double {
  fileprivate var asFloatBytes: [UInt8] { withUnsafeBytes(of: Float(self).bitPattern.littleEndian) { Array($0) } }
}
